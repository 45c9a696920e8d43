"""What is kept for the next start changes nothing but the time it takes; and the size of a pass changes no map."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import NO_BFLOAT16, Command
from examples import mostly_long
from PIL import Image

from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.executors.batch_size import BEFORE, MOST_IMAGES, PASSES, BatchSizeTuner
from cam_cli.plan import cache as cache_module
from cam_cli.plan.cache import NO_CACHE, Cache, cache_folder


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", "key")


def test_what_is_saved_is_loaded_under_its_key_and_name_alone(cache: Cache) -> None:
    assert cache.load("graph") is None
    cache.save("graph", b"contents")
    assert cache.load("graph") == b"contents"
    assert cache.load("plan") is None
    assert Cache(cache.folder, "another").load("graph") is None
    NO_CACHE.save("graph", b"contents")
    assert NO_CACHE.load("graph") is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:10], lambda data: data + b"x", lambda _: b""]
)
def test_a_damaged_file_is_as_good_as_none(cache: Cache, damage: object) -> None:
    cache.save("graph", b"contents")
    (file,) = (cache.folder or Path()).iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    assert cache.load("graph") is None


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_believed(cache: Cache, mode: int) -> None:
    cache.save("graph", b"contents")
    assert cache.folder
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    cache.folder.chmod(mode)
    assert cache.load("graph") is None
    cache.folder.chmod(0o700)
    assert cache.load("graph") == b"contents"


def test_a_place_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Cache(tmp_path / "file", "key").save("graph", b"contents")
    Cache(tmp_path / "file" / "below", "key").save("graph", b"contents")
    assert Cache(tmp_path / "file", "key").load("graph") is None


def test_what_was_used_longest_ago_goes_first(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MOST_BYTES", 3 * 140)
    for age, name in enumerate("abc"):
        cache.save(name, b"x" * 100)
        path = cache._path(name)
        assert path
        os.utime(path, ns=(age, age))
    assert cache.load("a")  # and so the oldest is b
    cache.save("d", b"x" * 100)
    assert [name for name in "abcd" if cache.load(name)] == ["a", "c", "d"]
    cache.save("huge", b"x" * 300)
    assert cache.load("huge") is None
    assert cache.load("d")


def test_the_cache_is_where_the_user_says() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/somewhere"}) == Path("/somewhere/smoothcam")
    for unset in ({}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}):
        assert cache_folder(unset) == Path.home() / ".cache/smoothcam"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{number}.png")
    return folder


def maps_in(out: Path) -> dict[str, list[float]]:
    return {path.parent.name: np.load(path).ravel().tolist() for path in sorted(out.rglob("*.npy"))}


def records_in(out: Path) -> list[dict[str, object]]:
    records = [json.loads(path.read_text()) for path in sorted(out.rglob("manifest.json"))]
    return [{key: value for key, value in record.items() if key != "timing"} for record in records]


def test_the_second_start_opens_no_model_and_gives_the_same(
    smoothcam: Command, model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    command = [
        "explain",
        photos,
        "--model",
        model_file,
        "--layer",
        "conv1",
        "--filters",
        "0,2",
        "--filter-maps",
        "both",
    ]
    first = smoothcam(*command, "-o", tmp_path / "first")
    assert first.code == 0, first.err

    def unneeded(*_: object, **__: object) -> None:
        raise AssertionError("the model was opened again")

    monkeypatch.setattr("cam_cli.models.load.load_network", unneeded)
    second = smoothcam(*command, "-o", tmp_path / "second")
    assert second.code == 0, second.err
    assert maps_in(tmp_path / "second") == maps_in(tmp_path / "first")
    assert records_in(tmp_path / "second") == records_in(tmp_path / "first")
    said = [
        [line.replace(f"/{name}/", "/") for line in run.err.splitlines() if "explained in" not in line]
        for name, run in (("first", first), ("second", second))
    ]
    assert said[0] == said[1]
    third = smoothcam(*command, "-o", tmp_path / "third", "--no-cache")
    assert third.code == 1
    assert "opened again" in third.err


@pytest.mark.parametrize(
    "flags",
    mostly_long(
        [
            ["--mean", "10"],
            ["--layer", "conv2"],
            ["--std-dev", "0.3"],
            ["--noise-scale", "absolute"],
            ["--seed", "3"],
            ["--precision", "bfloat16"],
        ],
        2,
    ),
)
def test_other_settings_are_not_taken_for_those_that_were_kept(
    flags: list[str], smoothcam: Command, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["explain", photos, "--model", model_file, "--layer", "conv1"]
    assert smoothcam(*command, "-o", tmp_path / "first").code == 0
    assert smoothcam(*command, *flags, "-o", tmp_path / "kept").code == 0
    assert smoothcam(*command, *flags, "-o", tmp_path / "anew", "--no-cache").code == 0
    assert maps_in(tmp_path / "kept") == maps_in(tmp_path / "anew")
    if "bfloat16" in flags and NO_BFLOAT16:
        pytest.skip(NO_BFLOAT16)
    assert maps_in(tmp_path / "kept") != maps_in(tmp_path / "first")


@pytest.mark.filterwarnings("ignore:__array__")  # Keras saves through an interface that NumPy deprecates
def test_a_model_that_changed_under_its_name_is_opened_anew(
    smoothcam: Command, model_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    model = keras.saving.load_model(model_file)
    mine = tmp_path / "mine.keras"
    model.save(mine)
    command = ["explain", photos, "--model", mine, "--layer", "conv1", "--std", "255"]
    assert smoothcam(*command, "-o", tmp_path / "first").code == 0
    model.set_weights([weight * 1.5 for weight in model.get_weights()])
    model.save(mine)
    assert smoothcam(*command, "-o", tmp_path / "second").code == 0
    assert maps_in(tmp_path / "first") != maps_in(tmp_path / "second")


def test_auto_precision_is_settled_recorded_and_part_of_the_fingerprint(
    smoothcam: Command, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["explain", photos, "--model", model_file, "--layer", "conv1", "-o", tmp_path / "out"]
    ended = smoothcam(*command, "--precision", "auto")
    assert ended.code == 0, ended.err
    assert "precision auto: taking " in ended.err
    taken = ended.err.split("precision auto: taking ")[1].split(";")[0]
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("manifest.json")]
    assert {record["settings"]["precision"] for record in records} == {taken}
    other = {"float32": "bfloat16", "bfloat16": "float32"}[taken]
    assert "0 explained, 3 already done" in smoothcam(*command, "--precision", "auto").err
    assert "0 explained, 3 already done" in smoothcam(*command, "--precision", taken).err
    assert "3 explained" in smoothcam(*command, "--precision", other).err


def test_a_gpu_that_is_not_there_is_said_before_anything_is_written(
    smoothcam: Command, model_file: Path, photos: Path, tmp_path: Path
) -> None:
    command = ["explain", photos, "--model", model_file, "-o", tmp_path / "out"]
    assert smoothcam(*command, "--device", "cpu").code == 0
    refused = smoothcam(*command, "--device", "gpu:7", "--layer", "conv1")
    assert refused.code == 2
    assert "gpu:7" in refused.err
    assert "--device cpu" in refused.err


class Timed:
    """An engine of known pace: seconds for an image by how many share a pass."""

    def __init__(self, pace: dict[int, float], most: int = MOST_IMAGES) -> None:
        self.pace, self.images_in_a_pass, self.most, self.now, self.halvings = pace, 1, most, 0.0, 0
        self.tried = [1]

    def share_passes(self, images: int) -> None:
        self.images_in_a_pass = min(images, self.most)
        self.tried.append(self.images_in_a_pass)

    def explain(self, subjects: list[Subject]) -> list[Explanation]:
        self.now += self.pace[self.images_in_a_pass] * len(subjects)
        return []


@pytest.mark.parametrize(
    ("pace", "most", "settled"),
    [
        ({1: 1.0, 2: 0.9, 4: 0.7, 8: 0.69}, 256, 4),
        ({1: 1.0, 2: 0.99}, 256, 1),
        ({1: 1.0, 2: 2.0}, 256, 1),
        ({1: 1.0, 2: 0.5}, 2, 2),
        ({2**k: 0.5**k for k in range(9)}, 256, 256),
    ],
)
def test_passes_grow_for_as_long_as_that_pays(
    pace: dict[int, float], most: int, settled: int, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Timed(pace, most)
    monkeypatch.setattr("cam_cli.executors.batch_size.time.perf_counter", lambda: engine.now)
    found = BatchSizeTuner(engine, cache, 2**20)  # type: ignore[arg-type]
    nothing = Subject(np.zeros((1, 1, 1), np.float32), "")
    for _ in range(BEFORE - 1):
        found.explain([nothing])
    assert engine.tried == [1]
    for _ in range(PASSES * 10):
        found.explain([nothing] * engine.images_in_a_pass)
    assert engine.images_in_a_pass == settled
    fresh = Timed(pace, most)
    BatchSizeTuner(fresh, cache, 2**20)  # type: ignore[arg-type]
    assert fresh.images_in_a_pass == settled


def test_passes_do_not_grow_past_the_memory_that_their_images_may_take(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast large passes are: what waits is bounded in bytes, so that memory does not follow the machine's speed."""
    engine = Timed({2**k: 0.5**k for k in range(9)})
    monkeypatch.setattr("cam_cli.executors.batch_size.time.perf_counter", lambda: engine.now)
    tuner = BatchSizeTuner(engine, cache, most_bytes=1000)  # type: ignore[arg-type]
    nothing = Subject(np.zeros((1, 1, 1), np.float32), "")
    for _ in range(BEFORE + PASSES * 10):
        tuner.note_bytes([10, 90, 20])
        tuner.explain([nothing] * engine.images_in_a_pass)
    assert max(engine.tried) == engine.images_in_a_pass == 8
    tuner.note_bytes([400])
    assert engine.images_in_a_pass == 2, "larger images make passes smaller, also once a size is settled"


def test_maps_do_not_depend_on_how_many_images_share_a_pass(model_file: Path) -> None:
    from cam_cli.engine.analysis import analyse
    from cam_cli.graph.trace import trace
    from cam_cli.models.load import load_network

    network = load_network(str(model_file))
    analysis = analyse(trace(network.model, network.input_shape), ["conv1"])
    draw = np.random.default_rng(0)
    subjects = [Subject(draw.normal(size=network.input_shape).astype(np.float32), str(i)) for i in range(7)]
    engine = Explainer(network.model, analysis, Request(nsamples=2), images=1)
    alone = engine.explain(subjects)
    for images in (2, 5):
        engine.share_passes(images)
        assert engine.images_in_a_pass == images
        for one, other in zip(alone, engine.explain(subjects), strict=True):
            peak = float(one.maps[0].values.max())
            np.testing.assert_allclose(other.maps[0].values, one.maps[0].values, atol=1e-5 * peak)
            assert other.maps[0].standard_error == pytest.approx(one.maps[0].standard_error, rel=1e-3)
    engine.share_passes(1)
    assert engine.halvings == 0, "smaller passes by choice are no shortage of memory"
