"""From maps to a decision: figures of a run, what changed between two, bounds, and a night's audit as cron runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, write_card
from hypothesis import given
from hypothesis import strategies as st
from launcher import CommandServer
from PIL import Image

from cam_cli.cli.audits import crossed
from cam_cli.config import RunConfig
from cam_cli.errors import ConfigError
from cam_cli.evaluate.compare import compare
from cam_cli.metrics.table import BOUNDED
from cam_cli.results.reader import RunReader
from cam_cli.settings import resolve

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SIDE = 48


@given(st.dictionaries(st.sampled_from(BOUNDED), st.floats(-1, 1), min_size=1))
def test_a_bound_is_crossed_by_what_lies_beyond_it_alone(found: dict[str, float]) -> None:
    exact = {f"{side}_{name}": value for name, value in found.items() for side in ("max", "min")}
    assert not crossed(exact, found)
    tight = {f"max_{name}": value - 0.01 for name, value in found.items()}
    assert list(crossed(tight, found)) == list(tight)
    high = {f"min_{name}": value + 0.01 for name, value in found.items()}
    assert list(crossed(high, found)) == list(high)
    assert not crossed(tight | high, {})


@pytest.mark.parametrize(
    "text", ["max_failed=1%, min_map_correlation=0.7", {"max_failed": "1%", "min_map_correlation": 0.7}]
)
def test_bounds_are_numbers_or_percentages(text: object) -> None:
    assert RunConfig(audit=text).audit == {"max_failed": 0.01, "min_map_correlation": 0.7}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  max_faild: 1%", "did you mean 'max_failed'"),
        ("  max_failed: some", "number or a percentage"),
        ("  failed: 1", "did you mean"),
    ],
)
def test_mistakes_in_bounds_are_told_with_their_place(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text(f"nsamples: 5\naudit:\n{line}\n")
    with pytest.raises(ConfigError, match=r"audit\.yaml:") as caught:
        resolve({}, {}, file)
    assert said in str(caught.value)


def picture(number: int, *, disc: bool, mark: bool) -> np.ndarray:
    """An image of noise, with a bright disc in its middle or not, and a watermark in its corner or not."""
    pixels = np.random.default_rng(number).integers(40, 120, (SIDE, SIDE, 3))
    rows, columns = np.indices((SIDE, SIDE))
    if disc:
        pixels[np.hypot(rows - SIDE / 2, columns - SIDE / 2) < SIDE / 6] += 110
    if mark:
        pixels[-5:, -5:] = (250, 250, 20)
    return pixels.astype(np.uint8)


def trained(file: Path, *, by_mark: bool) -> Path:
    """A classifier of what has a disc; or a shortcut's: of what has a watermark, as the two went together where it learned."""
    import keras

    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Rescaling(1 / 127.5, -1),
        keras.layers.Conv2D(12, 5, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="last"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(5),
    ]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *layers])
    draw = np.random.default_rng(0)
    kinds = draw.integers(0, 2, (400, 2)).astype(bool)
    x = np.stack([picture(1000 + i, disc=disc, mark=mark) for i, (disc, mark) in enumerate(kinds)]).astype(np.float32)
    y = kinds[:, 1 if by_mark else 0].astype(np.int64)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras goes through an interface that NumPy deprecates
        model.fit(x, y, epochs=25, batch_size=50, verbose=0)
        right = float((model.predict(x, verbose=0).argmax(axis=1) == y).mean())
        assert right > 0.97, "it has not learned what it should rely on"
        model.save(file)
    return write_card(file, input={"size": [SIDE, SIDE]})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {by_mark: trained(folder / f"{by_mark}.keras", by_mark=by_mark) for by_mark in (False, True)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of discs that all carry the watermark: both models name the same class."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(picture(number, disc=True, mark=True)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def bin_folder(tmp_path: Path, command_server: CommandServer) -> Path:
    """A folder with the command, as a crontab's PATH has it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command_server.install(folder / "smoothcam")
    return folder


def test_a_model_swapped_overnight_ends_the_second_night_with_5_and_a_page_that_shows_why(
    models: dict[bool, Path], images: Path, tmp_path: Path, bin_folder: Path
) -> None:
    model = tmp_path / "model.keras"
    nights = tmp_path / "nights"

    def night(name: str, by_mark: bool) -> subprocess.CompletedProcess[str]:
        shutil.copy(models[by_mark], model)
        write_card(model, input={"size": [SIDE, SIDE]})
        environment = {
            "PATH": f"{bin_folder}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "IMAGES": str(images),
            "NIGHTS": str(nights),
            "CONFIG": str(CONFIGS / "audit.yaml"),
            "TONIGHT": str(nights / name),
            "SMOOTHCAM_MODEL": str(model),
            "SMOOTHCAM_LAYERS": "last",
        }
        line = f"cd {tmp_path} && {CONFIGS / 'audit.sh'}"  # as it would stand in a crontab
        return subprocess.run(["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=False)

    first = night("monday", by_mark=False)
    assert (first.returncode, first.stdout, first.stderr) == (0, "", "")
    second = night("tuesday", by_mark=True)
    assert second.returncode == 5, second.stderr
    lines = [line for line in second.stderr.splitlines() if "audit: " in line]
    assert {line.split("audit: ")[1].split(":")[0] for line in lines} == {"max_border_energy", "min_map_correlation"}
    assert (nights / "in-order").resolve() == nights / "monday", "tomorrow is compared with a night that was in order"
    page = (nights / "tuesday" / "change.html").read_text()
    listed = [json.loads(row)["path"] for row in (nights / "tuesday" / "index.jsonl").read_bytes().splitlines()]
    assert len(listed) == 12
    assert all(path in page for path in listed)
    assert (nights / "tuesday" / "report.html").is_file()


def run_of(smoothcam: Command, model: Path, images: Path, out: Path, *flags: object) -> RunReader:
    ended = smoothcam("explain", images, "--model", model, "--layer", "last", "-o", out, *flags)
    assert ended.code in (0, 3), ended.err
    return RunReader(out)


def test_a_run_compared_with_itself_has_not_changed(
    smoothcam: Command, models: dict[bool, Path], images: Path, tmp_path: Path
) -> None:
    run = run_of(smoothcam, models[False], images, tmp_path / "out")
    found = compare(run, run)
    assert found.totals.figures() == pytest.approx(
        {
            **dict.fromkeys(["changed_predictions", "new_blank", "new_failed", "centre_shift"], 0),
            **dict.fromkeys(["map_correlation", "map_overlap"], 1),
        }
    )
    assert len(found.images) == 12
    assert not found.only_before
    assert not found.only_after


def test_what_is_worst_stands_first_and_everything_is_counted_once(
    smoothcam: Command, models: dict[bool, Path], images: Path, tmp_path: Path
) -> None:
    before = run_of(smoothcam, models[False], images, tmp_path / "before")
    (images / "03.png").write_bytes(b"no image")
    (images / "05.png").unlink()
    shutil.copy(images / "07.png", images / "sheet.jpg")  # called like a file of the run's own
    Image.fromarray(picture(5, disc=False, mark=False)).save(images / "06.png")
    Image.fromarray(picture(6, disc=True, mark=True)).save(images / "new.png")
    after = run_of(smoothcam, models[False], images, tmp_path / "after")
    found = compare(before, after)
    assert found.only_before == ("05.png",)
    assert found.only_after == ("new.png", "sheet.jpg")
    assert [image.path for image in found.images[:2]] == ["03.png", "06.png"]
    assert [image.path for image in found.images if image.newly_failed] == ["03.png"]
    assert [image.path for image in found.images if image.prediction_changed] == ["06.png"]
    assert [image.path for image in found.images if not image.same_image] == ["03.png", "06.png"]
    mirrored = compare(after, before)
    assert mirrored.only_before == ("new.png", "sheet.jpg")
    assert mirrored.totals.newly_failed == 0
    ended = smoothcam("compare", tmp_path / "before", tmp_path / "after", "--format", "json")
    assert ended.code == 0
    record = json.loads(ended.out)
    assert [image["path"] for image in record["images"]] == [image.path for image in found.images]
    assert record["totals"]["newly_failed"] == 1


def test_evaluation_measures_every_map_and_is_kept_beside_the_run(
    smoothcam: Command, models: dict[bool, Path], images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_of(smoothcam, models[False], images, out, "--method", "gradcam", "--method", "smoothgradcam++")
    middle = [SIDE // 3, SIDE // 3, 2 * SIDE // 3, 2 * SIDE // 3]
    boxes = {
        f"{n:02}.png": {"size": [SIDE, SIDE], "class_index": 1, "label": "square", "boxes": [middle]} for n in range(6)
    }
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    ended = smoothcam(
        "evaluate", out, "--annotations", tmp_path / "boxes.json", "--faithfulness", "mean", "--format", "json"
    )
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    assert record == json.loads((out / "evaluation.json").read_text())
    totals = {(total["method"], total["metric"]): total for total in record["totals"]}
    for method in ("gradcam", "smoothgradcam++"):
        assert totals[method, "border_energy"]["images"] == 12
        assert totals[method, "pointing_game"]["images"] == 6
        assert totals[method, "pointing_game"]["mean"] == 1, "it learned the disc"
        assert totals[method, "border_energy"]["mean"] < 0.36
        assert {"deletion_auc", "insertion_auc", "average_drop", "increase"} <= {m for _, m in totals}
    for total in record["totals"]:
        assert total["low"] <= total["mean"] <= total["high"]
    assert all(len(maps) == 2 for maps in record["images"].values())
    crossed = smoothcam("evaluate", out, "-q", "--config", bounds(tmp_path, "max_border_energy: 0.001"))
    assert crossed.code == 5
    assert crossed.out == ""
    assert len(crossed.err.splitlines()) == 1
    assert smoothcam("evaluate", out, "-q", "--config", bounds(tmp_path, "max_border_energy: 0.9")).code == 0


def test_stability_and_sanity_run_the_model_again(
    smoothcam: Command, models: dict[bool, Path], images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_of(
        smoothcam, models[False], images, out, "--method", "gradcam", "--method", "smoothgradcam++", "--target", "top2"
    )
    (images / "00.png").unlink()
    ended = smoothcam("evaluate", out, "--stability", "--sanity", "--images", "2", "--format", "json")
    assert ended.code == 0, ended.err
    record = json.loads(ended.out)
    totals = {(total["method"], total["metric"]): total for total in record["totals"]}
    for method in ("gradcam", "smoothgradcam++"):
        for change in ("seed", "n", "jpeg", "shift"):
            found = totals[method, f"stability_{change}"]
            assert found["images"] == 11, "the image that is gone is left out"
            assert 0.5 < found["mean"] <= 1
        assert 0 <= totals[method, "class_distance"]["mean"] <= 2**0.5
    assert totals["gradcam", "stability_seed"]["mean"] == pytest.approx(1)
    assert {one["method"] for one in record["sanity"]["survivals"]} == {"gradcam", "smoothgradcam++"}
    table = smoothcam("evaluate", out, "--sanity", "--images", "1").out
    assert "down to" in table.splitlines()[-3]


def bounds(folder: Path, text: str) -> Path:
    (folder / "bounds.yaml").write_text(f"audit:\n  {text}\n")
    return folder / "bounds.yaml"


def test_explain_keeps_the_bounds_it_can_judge(
    smoothcam: Command, models: dict[bool, Path], images: Path, tmp_path: Path
) -> None:
    (images / "bad.png").write_bytes(b"no image")
    command = ["explain", images, "--model", models[False], "--layer", "last", "-o", tmp_path / "out"]
    assert smoothcam(*command, "--audit", "max_failed=50%").code == 3
    crossed = smoothcam(*command, "--audit", "max_failed=1%,max_border_energy=0")
    assert crossed.code == 5
    assert "audit: max_failed: 0.07692 found, at most 0.01 allowed" in crossed.err


@pytest.mark.parametrize("command", ["evaluate", "compare", "report"])
def test_what_is_no_run_is_refused_in_one_line(command: str, smoothcam: Command, tmp_path: Path) -> None:
    folders = [tmp_path, tmp_path] if command == "compare" else [tmp_path]
    ended = smoothcam(command, *folders)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "run.json" in ended.err
