"""True classes: read from folders and files, and compared with predictions; what is unknown is never wrong."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hand_written import MULTI, NAMES, row_of, write_run

from cam_cli.errors import UsageError
from cam_cli.models.labels import Label, Labels
from cam_cli.results.manifest import Prediction, TruthRecord
from cam_cli.results.reader import RunReader
from cam_cli.results.summary import summarize
from cam_cli.results.tally import TruthTally, judgement_of
from cam_cli.results.truth import NOT_TOLD, ImageTruth, Truths, judge, read_truths

pytestmark = pytest.mark.pure

LABELS = Labels(
    (
        Label(0, "crane", "n02012849"),
        Label(1, "hammerhead", "n01494475", ("hammerhead shark",)),
        Label(2, "crane", "n03126707"),
        Label(3, "ice bear", "n02134084"),
    )
)


def truths(source: Any, root: str = "val") -> Truths:
    return read_truths(source, LABELS, 4, root)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("n01494475", ImageTruth((1,))),
        ("3", ImageTruth((3,))),
        ("ice_bear", ImageTruth((3,))),
        ("Hammerhead shark", ImageTruth((1,))),
        ("crane", ImageTruth(unknown="crane")),  # two classes have this name
        ("4", ImageTruth(unknown="4")),
        ("predicted", ImageTruth(unknown="predicted")),  # a word of --target, and no class
        ("top2", ImageTruth(unknown="top2")),
    ],
)
def test_a_folder_names_the_class_of_its_images(folder: str, expected: ImageTruth) -> None:
    assert truths("folder").of(PurePosixPath("a", folder, "x.jpg")) == expected
    assert truths("folder", root=folder).of(PurePosixPath("x.jpg")) == expected


def test_a_file_names_the_classes_of_each_image(tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("label,path\nice bear,./b/x.jpg\n 1 ,b/x.jpg\nzebra,b/y.jpg\n0,b/y.jpg\n,b/z.jpg\n")
    known = truths(file)
    assert known.of(PurePosixPath("b/x.jpg")) == ImageTruth((3, 1))
    assert known.of(PurePosixPath("b/y.jpg")) == ImageTruth((0,), "zebra")
    assert known.of(PurePosixPath("b/z.jpg")) == ImageTruth()
    assert known.of(PurePosixPath("other.jpg")) == ImageTruth(unknown="")
    assert known.most == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,target\na,1\n", r"truth\.csv:1: .* columns path and label"),
        ("path,label\na,1\nb\n", r"truth\.csv:3: the row has no label"),
        ("", r"truth\.csv:1"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_truth_is_refused_with_its_line(text: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=message):
        truths(file)


def predictions(*probabilities: tuple[int, float]) -> list[Prediction]:
    return [Prediction(index=i, label=str(i), probability=p, logit=0) for i, p in probabilities]


@pytest.mark.parametrize(
    ("truth", "correct"),
    [
        (ImageTruth((1,)), True),
        (ImageTruth((3,)), False),
        (ImageTruth((3, 1)), True),
        (ImageTruth(unknown="zebra"), None),
        (ImageTruth((1,), "zebra"), True),
        (ImageTruth((3,), "zebra"), None),  # the unknown name may be that of the predicted class
        (ImageTruth(), None),
        (NOT_TOLD, None),
    ],
)
def test_one_label_is_right_if_the_most_likely_class_is_true(truth: ImageTruth, correct: bool | None) -> None:
    assert judge(truth, (), predictions((1, 0.4), (3, 0.3)), multi_label=False).correct is correct
    assert judge(truth, (), (), multi_label=False).correct is None, "an image that failed is neither"


@pytest.mark.parametrize(
    ("truth", "correct"),
    [
        (ImageTruth((3, 1)), True),
        (ImageTruth((1,)), False),
        (ImageTruth((1, 3, 0)), False),
        (ImageTruth(), False),
        (ImageTruth((1, 3), "zebra"), None),
        (NOT_TOLD, None),
    ],
)
def test_several_labels_are_right_if_exactly_these_are_predicted(truth: ImageTruth, correct: bool | None) -> None:
    found = predictions((1, 0.9), (3, 0.5), (0, 0.49))
    assert judge(truth, (), found, multi_label=True).correct is correct


def test_the_truth_that_a_run_did_not_know_is_laid_over_it(tmp_path: Path) -> None:
    """Folders are named a to g, as the classes are; five of the seven classes are recorded."""
    rows = [
        row_of("c/right.jpg", [2, 0, 1, 3, 4]),
        row_of("a/second.jpg", [2, 0, 1, 3, 4]),
        row_of("g/far.jpg", [2, 0, 1, 3, 4]),
    ]
    rows += [row_of("misc/unknown.jpg", [2, 0, 1, 3, 4]), row_of("c/failed.jpg", [])]
    folder = write_run(tmp_path / "out", rows)
    found = {image.path: image.manifest for image in RunReader(folder, "folder").images()}
    assert {path: (m.truth and (m.truth.index, m.truth.rank), m.correct) for path, m in found.items()} == {
        "a/second.jpg": ((0, 2), False),
        "c/failed.jpg": ((2, None), None),
        "c/right.jpg": ((2, 1), True),
        "g/far.jpg": ((6, None), False),
        "misc/unknown.jpg": (None, None),
    }
    assert found["misc/unknown.jpg"].unknown_truth == "misc"
    assert found["a/second.jpg"].truth == TruthRecord(index=0, label="a", rank=2, probability=0.25)
    truth = summarize([folder], "folder").truth
    assert truth is not None
    assert (truth.right, truth.wrong, truth.unknown) == (1, 2, 1)
    assert truth.top5 is not None
    assert truth.top5["share"] == pytest.approx(2 / 3)
    assert summarize([folder]).truth is None


def test_what_the_run_knew_of_a_true_class_stays_known(tmp_path: Path) -> None:
    own = {"index": 6, "label": "g", "wnid": None, "rank": 7, "probability": 0.01}
    folder = write_run(tmp_path / "out", [row_of("g/far.jpg", [2, 0, 1, 3, 4], truth=own, correct=False)])
    (image,) = RunReader(folder, "folder").images()
    assert image.manifest.truth is not None
    assert (image.manifest.truth.rank, image.manifest.truth.probability) == (7, 0.01)


def test_names_of_classes_that_are_gone_are_a_usage_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out", [row_of("c/a.jpg", [2])])
    Path(json.loads((folder / "run.json").read_text())["config"]["labels"]).write_text("x\ny\n")
    with pytest.raises(UsageError, match=r"class names .* are not to be found"):
        RunReader(folder, "folder")


def test_several_labels_are_counted_by_the_whole_image(tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("path,label\n1.jpg,c\n1.jpg,a\n2.jpg,c\n3.jpg,\n")
    rows = [row_of(f"{i}.jpg", [2, 0, 1], [0.9, 0.6, 0.2]) for i in (1, 2)] + [row_of("3.jpg", [2, 0], [0.2, 0.1])]
    truth = summarize([write_run(tmp_path / "out", rows, **MULTI)], file).truth
    assert truth is not None
    assert (truth.right, truth.wrong, truth.top5) == (2, 1, None)


def test_a_judgement_takes_the_best_other_class_for_the_rival() -> None:
    truth = {"index": 0, "label": "a", "wnid": None, "rank": 2, "probability": 0.3}
    one = judgement_of(row_of("x", [2, 0, 1], [0.5, 0.3, 0.1], truth=truth, correct=False))
    assert one is not None
    assert (one.truth, one.predicted, one.confidence, one.truth_probability, one.rival_probability) == (
        0,
        2,
        0.5,
        0.3,
        0.5,
    )
    also = judgement_of(
        row_of(
            "x",
            [2, 0, 1],
            [0.5, 0.3, 0.1],
            truth=truth,
            also_true=[truth | {"index": 2, "probability": 0.5}],
            correct=True,
        )
    )
    assert also is not None
    assert (also.truth, also.right, also.rival_probability) == (2, True, 0.3)


def test_the_words_of_a_tally() -> None:
    tally = TruthTally()
    truth = {"index": 0, "label": "a", "wnid": None, "rank": 2, "probability": 0.3}
    tally.add(row_of("sure", [2, 0], [0.95, 0.05], truth=truth, correct=False))
    tally.add(row_of("right", [0, 2], [0.95, 0.05], truth=truth, correct=True))
    tally.add(row_of("unknown", [0, 2], [0.95, 0.05], unknown_truth="zebra"))
    tally.add(row_of("failed", [], truth=truth))
    tally.add(row_of("nobody asked", [0]))
    assert str(tally) == (
        "1 of 2 right (50%, 9% to 91%), 1 wrong, 1 of them with over 90% confidence, 1 of unknown class"
    )
    assert tally.figures() == {
        "accuracy": 0.5, "class_accuracy": 0.5, "confidently_wrong": 0.5, "calibration_error": pytest.approx(0.45)
    }  # fmt: skip
    assert len(NAMES) == 7
