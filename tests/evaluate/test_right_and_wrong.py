"""What `evaluate` and `compare` say of right and wrong, on runs that no network made."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from hand_written import MULTI, NAMES, row_of, write_run

from cam_cli.evaluate.classification import TruthCollector
from cam_cli.evaluate.compare import compare
from cam_cli.results.reader import RunReader

pytestmark = pytest.mark.pure

CLASSES = len(NAMES)


def random_run(seed: int, images: int = 300) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Rows of images in folders named for their classes, with all probabilities (images, classes), and the true classes."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.full(CLASSES, 0.3), images)
    truth = np.where(draw.random(images) < 0.6, p.argmax(axis=1), draw.integers(CLASSES, size=images))
    rows = []
    for number, (row, true) in enumerate(zip(p, truth, strict=True)):
        ranked = np.argsort(-row)
        own = {"index": int(true), "label": NAMES[true], "wnid": None}
        own |= {"rank": int(np.flatnonzero(ranked == true)[0]) + 1, "probability": float(row[true])}
        fields = {"truth": own, "correct": bool(ranked[0] == true)}
        rows.append(row_of(f"{NAMES[true]}/{number:03}.jpg", ranked[:5].tolist(), row[ranked[:5]].tolist(), **fields))
    return rows, p, truth


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_of_a_run_are_scikit_learns(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rows, p, truth = random_run(seed)
    collector = TruthCollector(multi_label=False)
    for row in rows:
        collector.add(row)
    found = collector.record()
    assert found is not None
    predicted = p.argmax(axis=1)
    assert found.top1 is not None
    assert found.top1.share == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found.top5 is not None
    assert found.top5.share == pytest.approx(metrics.top_k_accuracy_score(truth, p, k=5))
    matrix = metrics.confusion_matrix(truth, predicted)
    assert {(one.truth.index, one.predicted.index): one.images for one in found.confused} == {
        (i, j): matrix[i, j] for i in range(CLASSES) for j in range(CLASSES) if i != j and matrix[i, j]
    }
    of_classes = metrics.recall_score(truth, predicted, average=None)
    assert {one.target.index: one.accuracy for one in found.classes} == pytest.approx(dict(enumerate(of_classes)))
    assert found.figures()["class_accuracy"] == pytest.approx(of_classes.min())
    own = p[np.arange(len(p)), truth]
    rivals = np.where(np.eye(CLASSES, dtype=bool)[truth], 0, p).max(axis=1)
    margins = (own - rivals + 1) / 2  # as Northcutt et al. 2021 define the normalized margin
    wrong = np.flatnonzero(predicted != truth)
    worst = wrong[np.argsort(margins[wrong], kind="stable")]
    assert [one.normalized_margin for one in found.doubtful] == pytest.approx(margins[worst].tolist())
    assert [int(Path(one.path).stem) for one in found.doubtful[:5]] == worst[:5].tolist()
    assert [one.self_confidence for one in found.doubtful] == pytest.approx(own[worst].tolist())


def test_evaluate_says_it_in_three_formats(smoothcam: Command, tmp_path: Path) -> None:
    rows, p, truth = random_run(0)
    run = write_run(tmp_path / "out", rows)
    accuracy = float((p.argmax(axis=1) == truth).mean())
    ended = smoothcam("evaluate", run)
    assert ended.code == 0, ended.err
    assert f"truth: {round(accuracy * 300)} of 300 right ({accuracy:.0%}, " in ended.out
    assert "label probably wrong" in ended.out
    lines = [*csv.DictReader(smoothcam("evaluate", run, "--format", "csv").out.splitlines())]
    values = {line["metric"]: line for line in lines if not line["class"]}
    assert float(values["accuracy"]["mean"]) == pytest.approx(accuracy)
    assert {line["class"] for line in lines if line["metric"] == "class_accuracy"} == {
        f"{name} ({index})" for index, name in enumerate(NAMES)
    }
    said = json.loads(smoothcam("evaluate", run, "--format", "json").out)["classification"]
    assert said["top1"]["share"] == pytest.approx(accuracy)


def test_a_run_of_several_labels_has_precision_and_recall(smoothcam: Command, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("path,label\n1.jpg,a\n1.jpg,b\n2.jpg,b\n3.jpg,\n")
    rows = [row_of(f"{i}.jpg", [0, 1, 2], [0.9, 0.5, 0.4]) for i in (1, 2, 3)]
    run = write_run(tmp_path / "out", rows, **MULTI)
    ended = smoothcam("evaluate", run, "--truth", tmp_path / "truth.csv", "--audit", "min_label_precision=0.6")
    assert ended.code == 5, ended.err
    assert "truth: 1 of 3 right" in ended.out
    assert "precision and recall at 0.5: 50% (19% to 81%) and 100% (44% to 100%)" in ended.out
    assert "  2.jpg: a 90%, b 50%, but it is b 50%" in ended.err
    assert "  3.jpg: a 90%, b 50%, but it is of no class" in ended.err


def nights(tmp_path: Path, **second: Any) -> tuple[Path, Path]:
    before = [
        row_of("a/1.jpg", [0, 1]),
        row_of("a/2.jpg", [1, 0]),
        row_of("a/3.jpg", [1, 0]),
        row_of("b/4.jpg", [1, 0]),
    ]
    after = [row_of("a/1.jpg", [1, 0]), row_of("a/2.jpg", [0, 1]), row_of("a/3.jpg", [2, 0]), row_of("b/4.jpg", [1, 0])]
    return write_run(tmp_path / "A", before), write_run(tmp_path / "B", after, **second)


def test_what_broke_stands_first(smoothcam: Command, tmp_path: Path) -> None:
    ended = smoothcam("compare", *nights(tmp_path), "--truth", "folder", "--audit", "max_broke=10%")
    assert ended.code == 5
    lines = ended.out.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("worst first")) + 1
    assert [line.split("  ")[0] for line in lines[first:]] == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/4.jpg"]
    assert lines[first].endswith("broke, other class")
    assert lines[first + 1].endswith("other class, fixed")
    assert lines[first + 2].endswith("other class, wrong in both")
    assert "audit: max_broke: 0.25 found, at most 0.1 allowed" in ended.err
    assert "  a/1.jpg: a before, b now, but it is a" in ended.err
    assert "2.jpg" not in ended.err


def test_a_truth_that_one_run_knows_goes_for_both(tmp_path: Path) -> None:
    before, after = nights(tmp_path)
    for runs in ((RunReader(before, "folder"), RunReader(after)), (RunReader(before), RunReader(after, "folder"))):
        totals = compare(*runs).totals
        assert (totals.known, totals.broke, totals.fixed, totals.wrong_in_both) == (4, 1, 1, 1)
    assert compare(RunReader(before), RunReader(after)).totals.known == 0


def test_classes_are_compared_by_index_where_the_model_is_the_same(tmp_path: Path) -> None:
    """As where one of the runs was told no labels, so that its classes are called 0, 1, ..."""
    before, after = nights(tmp_path)
    for path in after.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        for one in manifest["predictions"]:
            one["label"] = str(one["index"])
        path.write_text(json.dumps(manifest))
    assert compare(RunReader(before), RunReader(after)).totals.prediction_changed == 3
    for path in after.rglob("manifest.json"):
        manifest = json.loads(path.read_text())
        manifest["model"]["sha256"] = "2" * 64
        path.write_text(json.dumps(manifest))
    assert compare(RunReader(before), RunReader(after)).totals.prediction_changed == 4, (
        "names of other models are compared"
    )
