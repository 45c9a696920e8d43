"""Runs that no network made: rows and manifests as a run writes them, with the predictions that a test needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cam_cli.models.labels import read_labels
from cam_cli.results.manifest import Manifest

NAMES = "abcdefg"
"""The names of the classes, in the order of their indices."""
MULTI = {"multi_label": True}
MODEL = {"name": "m", "sha256": "0" * 64, "input_size": [8, 8]}


def row_of(path: str, ranked: Sequence[int], probabilities: Sequence[float] | None = None, **fields: Any) -> Any:
    """A row of an image by its predicted classes, the most likely first; 1/2, 1/4, ... by default. Without classes: failed."""
    found = [
        {"index": index, "label": NAMES[index], "wnid": None, "probability": p, "logit": 0.0}
        for index, p in zip(ranked, probabilities or [2.0**-rank for rank in range(1, 9)], strict=False)
    ]
    error = None if found else {"stage": "decode", "type": "ImageError", "message": "cut off"}
    row = {"path": path, "status": "ok" if found else "failed", "error": error, "predictions": found, "maps": []}
    return row | {"fingerprint": "f", "sha256": "1" * 64, "joint": []} | fields


def map_of(values: np.ndarray, index: int, file: str = "map.npy") -> dict[str, Any]:
    """A raw map of class `index`, as a manifest and a row have it; `write_run` writes its file."""
    selection = {"filters": None, "region": False, "subset": None, "top": None}
    told = {"derivatives": "exact", "head": "affine", "noise": "no effect, affine head", "guarded_cells": 0}
    return {
        "layer": "last", "method": "gradcam", "target": {"index": index, "label": NAMES[index], "wnid": None},
        "selection": selection, "state": "ok", "grid": [*values.shape], "window": None, "min": float(values.min()),
        "max": float(values.max()), **told, "noise_effect": None, "standard_error": None,
        "files": {"raw": file, "heatmap": None, "overlay": None}, "values": values,
    }  # fmt: skip


def write_run(folder: Path, rows: Sequence[Any], *, multi_label: bool = False, **record: Any) -> Path:
    """Write a run folder of such rows, with their manifests, and return it."""
    folder.mkdir()
    labels = folder.with_name(f"{folder.name}.labels.txt")
    labels.write_text("\n".join(NAMES) + "\n")
    fed = {"size": [8, 8], "fit": "stretch", "channels": "rgb", "mean": [0.0], "std": [1.0]}
    settings = {"labels": read_labels(labels).digest(), "input": fed, "colormap": "inferno", "opacity": 0.6}
    model = MODEL | {"multi_label": multi_label}
    run = {
        "schema_version": 1, "root": str(folder.parent / "images"), "settings": settings, "model": model, "state": "finished",
        "config": {"labels": str(labels)}, "cwd": str(folder.parent), "plan": {"key": "k", "classes": len(NAMES)},
        "started": "2025-03-01T01:00:00+00:00", "finished": "2025-03-01T02:00:00+00:00", "totals": {"images": len(rows)},
    } | record  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    with (folder / "index.jsonl").open("w") as index:
        for row in rows:
            (folder / row["path"]).mkdir(parents=True)
            for entry in row["maps"]:
                np.save(folder / row["path"] / entry["files"]["raw"], entry.pop("values").astype(np.float32))
            index.write(json.dumps(row | {"finished": "2025-03-01T02:00:00+00:00"}) + "\n")
            image = {"path": row["path"], "sha256": row["sha256"], "width": 8, "height": 8}
            of_row = {key: value for key, value in row.items() if key not in ("path", "sha256")}
            manifest = of_row | {"image": image, "model": model, "settings": settings, "versions": {}}
            Manifest.model_validate(manifest).write(folder / row["path"])
    return folder
