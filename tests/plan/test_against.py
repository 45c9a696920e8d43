"""What `--against` asks for, resolved for a model and for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cam_cli.config import RunConfig
from cam_cli.contrast import SECOND, named, similar
from cam_cli.errors import UsageError
from cam_cli.models.labels import Label, Labels
from cam_cli.plan.against import read_against
from cam_cli.results.truth import NOT_TOLD, ImageTruth

pytestmark = pytest.mark.pure

LABELS = Labels(tuple(Label(index, name) for index, name in enumerate(("cat", "dog", "similar:2 things", "owl"))))


def test_classes_words_and_true_classes_are_resolved_in_their_order() -> None:
    asked = read_against(["dog", "second", "similar:2", "truth", "predicted", "dog"], LABELS, 4, most_true=2)
    assert asked.common == (1, SECOND, *similar(2), -1)
    assert asked.count == 7
    assert asked.of(ImageTruth((3, 0))) == (*asked.common, 3, 0)
    assert asked.of(NOT_TOLD) == asked.common
    assert named(asked.common) == [1, -1]
    assert read_against(["owl"], LABELS, 4, most_true=2).of(ImageTruth((1,))) == (3,)
    assert read_against([], LABELS, 4, most_true=2).count == 0


@pytest.mark.parametrize("text", ["bird", "7", "similar:4", "similar:0"])
def test_a_class_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_against([text], LABELS, 4, most_true=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"against": "truth"}, "'truth' needs truth, such as --truth folder"),
        ({"sizes": "24,32"}, "goes with method twoscale"),
        ({"best": True, "methods": "gradcam"}, "takes the method and its sizes itself"),
        ({"best": True, "sizes": "24"}, "takes the method and its sizes itself"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunConfig(**values)


def test_what_is_not_set_is_not_in_the_settings_of_a_result() -> None:
    assert not {"against", "sizes", "best"} & set(RunConfig().result_settings())
    given = RunConfig(against=["dog"], sizes="24,32x48", methods="twoscale", truth=Path("a.csv")).result_settings()
    assert (given["against"], given["sizes"]) == (["dog"], [[24, 24], [32, 48]])
