"""What a newcomer types first: help, a slip in a command, a name or a path, completion, and part of the images."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from conftest import Command
from hypothesis import given
from hypothesis import strategies as st

from cam_cli.cli.progress import Progress
from cam_cli.config import RunConfig
from cam_cli.errors import UsageError
from cam_cli.images.find import ImageFile
from cam_cli.models.labels import Label, Labels
from cam_cli.pipeline.discover import discovery_for, sampled

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explian", "x"], "no command 'explian' (did you mean 'explain'?)"),
        (["sumarize"], "no command 'sumarize' (did you mean 'summarize'?)"),
        (["frobnicate"], "no command 'frobnicate'; there are explain, summarize"),
        (["explain", "imgaes"], "no such file or folder: 'imgaes' (did you mean 'images'?)"),
        (["images"], "no command 'images'; to explain images: smoothcam explain images"),
        (["explain", "images", "--lyer", "a"], "--layer"),
        (["layers", "a.keras", "--model", "b.keras"], "the models 'a.keras' and --model 'b.keras' are both named"),
        (["layers", "vgg16lite"], "no model 'vgg16lite' (did you mean 'vgg16-lite'?)"),
        (["models", "vgg16"], "no bundled model 'vgg16' (did you mean 'vgg16-lite'?)"),
        (["explain", "images", "--nsamples", "-3"], "smoothcam: --nsamples: must be a whole number from 0 to"),
    ],
)
def test_a_slip_gets_the_nearest_that_there_is(
    smoothcam: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    ended = smoothcam(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


def test_all_mistakes_are_told_a_line_each(smoothcam: Command, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("nsamples: -3\nsampels: 4\n")
    ended = smoothcam("explain", tmp_path, "-c", tmp_path / "run.yaml", "--colormap", "blu")
    told = ended.err.splitlines()
    assert [line.split(": ")[0] for line in told] == ["smoothcam"] * 3
    for line, part in zip(told, ["--colormap", "run.yaml:1:11", "run.yaml:2:1"], strict=True):
        assert part in line


def test_the_classes_of_a_model_are_listed_by_its_name(smoothcam: Command) -> None:
    named, option = smoothcam("models", "vgg16-lite"), smoothcam("models", "--labels", "vgg16-lite")
    assert named == option
    assert len(named.out.splitlines()) == 1000


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_says_where_its_line_goes(smoothcam: Command, tmp_path: Path, shell: str) -> None:
    ended = smoothcam("completion", shell)
    assert ended.code == 0
    assert f"_SMOOTHCAM_COMPLETE={shell}_complete" in ended.out
    assert ended.out.startswith("# Put this line into ~/.")
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(ended.out)
        checked = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


# --- a part of the images


def found(folder: Path, **settings: object) -> list[str]:
    discovery = discovery_for([folder], RunConfig.model_validate(settings))
    return [str(image.relative) for image in discovery.images(lambda *_: None)]


def test_limit_takes_the_first_and_sample_the_same_by_chance(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.jpg").touch()
    everything = found(tmp_path)
    assert found(tmp_path, limit=3) == everything[:3]
    assert found(tmp_path, limit=99) == found(tmp_path, sample=99) == everything
    some = found(tmp_path, sample=10)
    assert len(some) == 10
    assert some == sorted(some) == found(tmp_path, sample=10)
    assert some != everything[:10]
    assert some != found(tmp_path, sample=10, seed=1)


@given(st.lists(st.text("ab/", min_size=1), unique=True, max_size=30), st.integers(1, 10), st.integers(0, 3))
def test_most_of_a_sample_stays_when_images_are_added(names: Sequence[str], count: int, seed: int) -> None:
    images = [ImageFile(Path(name), PurePosixPath(f"{number} {name}")) for number, name in enumerate(names)]
    fewer = sampled(images[:-1], count, seed)
    more = sampled(images, count, seed)
    assert len(more) == min(count, len(images))
    assert [image for image in images if image in more] == more, "in the order they come"
    assert len(set(map(id, fewer)) - set(map(id, more))) <= 1


# --- classes that are not there


def labels(*names: str) -> Labels:
    return Labels(tuple(Label(i, name, f"n{i:08}", (name, *name.split(" / ")[1:])) for i, name in enumerate(names)))


@pytest.mark.parametrize(
    ("known", "wanted", "said"),
    [
        (labels("daisy", "rose"), "cat", "no class of that name; the model has 'daisy' (0), 'rose' (1)"),
        (labels(*map(str, range(50)), "tabby cat", "bat", "cat-nap"), "cat", "near it: 'tabby cat' (50), 'cat-nap' (52)"),
        (labels(*map(str, range(50)), "German shepherd"), "shepard", "near it: 'German shepherd' (50)"),
        (labels(*map(str, range(50))), "xyz", "`smoothcam models MODEL` lists"),
        (labels("crane", "Crane"), "crane", "names 2 classes; give the index or the WordNet id: 0 (n00000000) or 1 (n00000001"),
        (labels("a", "b"), "a, c", "target 'c': no class of that name"),
    ],
)  # fmt: skip
def test_a_class_that_is_not_there_gets_those_that_are_near(known: Labels, wanted: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        known.resolve(wanted, len(known.entries))
    assert said in str(caught.value)


def test_several_classes_between_commas_and_a_name_with_commas() -> None:
    known = Labels((Label(0, "kite"), Label(1, "kite, bird"), Label(2, "ox")))
    assert known.resolve("ox, kite", 3) == (2, 0)
    assert known.resolve("Kite, bird", 3) == (1,)
    assert known.resolve("top2,ox", 3) == (-1, -2, 2)


# --- the bar, until the first image


def test_the_bar_says_what_is_done_before_the_first_image() -> None:
    progress = Progress(doing="loading the model")
    assert progress.begun
    assert progress.brief == "loading the model"
    progress.total = 1031
    assert progress.brief == "loading the model (1,031 images)"
    assert str(progress) == "loading the model, no image is finished yet"
    progress.doing = ""
    assert progress.brief == "0/1,031 images"
    progress.doing = "loading the model"
    progress.count("a", failed=False, skipped=False)
    assert progress.brief.startswith("1/1,031 images")
