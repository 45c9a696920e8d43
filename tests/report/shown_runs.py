"""Runs for the page that no network made: images, raw maps, predictions and true classes that a test chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hand_written import NAMES, map_of, row_of, write_run
from PIL import Image

WHOLE = {"filters": None, "region": False, "subset": None, "top": None}


@dataclass(frozen=True)
class Case:
    """An image: what is predicted, at which probabilities, and what is true; `states` of its maps, of which the first explains
    the predicted class and the second the true one. Without a prediction it failed."""

    path: str
    ranked: Sequence[int] = ()
    probabilities: Sequence[float] = ()
    truth: int | None = None
    also_true: Sequence[int] = ()
    unknown: str | None = None
    states: Sequence[str] = ("ok",)
    method: str = "gradcam"
    standard_error: float | None = None
    noise_effect: float = 1.0

    @property
    def true(self) -> list[int]:
        return [*([] if self.truth is None else [self.truth]), *self.also_true]

    @property
    def correct(self) -> bool | None:
        return self.ranked[0] in self.true if self.ranked and self.true else None

    @property
    def targets(self) -> list[int]:
        return list(dict.fromkeys([*self.ranked[:1], *self.true]))[: max(1, len(self.states))]


def write_images(folder: Path, cases: Sequence[Case], size: tuple[int, int] = (40, 30)) -> dict[str, str]:
    """Write an image for each case; return the sha256 of each by its path."""
    found = {}
    for seed, case in enumerate(cases):
        file = folder / case.path
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(file)
        found[case.path] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def write_shown(folder: Path, cases: Sequence[Case], *, seed: int = 0, told: bool = True, **record: Any) -> Path:
    """Write a run of these cases in `folder`, of images beside it; told: whether the run knows the true classes."""
    sha256 = write_images(folder.parent / "images", cases)
    draw = np.random.default_rng(seed)
    rows = []
    for case in cases:
        maps = []
        for target, state in zip(case.targets, case.states, strict=False):
            values = draw.random((4, 4)).astype(np.float32) * {"ok": 1, "blank": 0, "nonfinite": np.nan}[state]
            look = {"layer": "conv", "method": case.method, "state": state, "standard_error": case.standard_error}
            limits = {"min": None, "max": None} if state == "nonfinite" else {}
            own = look | limits | {"noise_effect": case.noise_effect}
            maps.append(map_of(values, target, f"conv.{target}.npy") | own)
        chances = dict(zip(case.ranked, case.probabilities, strict=False))
        records = [
            {"index": i, "label": NAMES[i], "wnid": None, "probability": chances.get(i),
             "rank": list(case.ranked).index(i) + 1 if i in case.ranked else None}
            for i in case.true
        ]  # fmt: skip
        truth = {"truth": records[0] if records else None, "also_true": records[1:]} if told else {}
        judged = truth | ({"unknown_truth": case.unknown, "correct": case.correct} if told else {})
        row = row_of(case.path, case.ranked, case.probabilities, sha256=sha256[case.path], **judged)
        rows.append(row | {"maps": maps} if case.ranked else row)
    return write_run(folder, rows, **record)
