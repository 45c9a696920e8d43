"""From an explanation to its files: raw maps, pictures, and the records of the manifest."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cam_cli.engine.anatomy import Head
from cam_cli.engine.explain import Explanation
from cam_cli.engine.maps import SaliencyMap
from cam_cli.models.labels import Labels
from cam_cli.render.picture import heatmap, normalise, overlay, placard, save_png
from cam_cli.render.place import place
from cam_cli.runs.files import write_whole
from cam_cli.runs.manifest import MapFiles, MapRecord, Prediction, SelectionRecord, TargetRecord
from cam_cli.runs.naming import stem
from cam_cli.runs.prepare import Prepared

_WHY_NOT = {"blank": "blank map: nothing speaks for the class", "nonfinite": "no map: the numbers are not finite"}
TOP = 5


@dataclass(frozen=True)
class Artefacts:
    """Which files are written for a map, and how its pictures look."""

    write: tuple[str, ...] = ("raw", "heatmap", "overlay")
    colormap: str = "inferno"
    opacity: float = 0.6


def publish_map(
    saliency: SaliencyMap, nsamples: int, image: Prepared, labels: Labels, folder: Path, how: Artefacts
) -> MapRecord:
    """Write one map's files into `folder` and return its record.

    Raises:
        OSError: a file cannot be written.
    """
    name = stem(saliency)
    files = {}
    for kind, data in _files(saliency, image, how).items():
        ending = "npy" if kind == "raw" else f"{kind}.png"
        files[kind] = f"{name}.{ending}"
        write_whole(folder / files[kind], data)
    finite = saliency.state != "nonfinite"
    return MapRecord(
        layer=saliency.layer,
        method=saliency.method,
        target=_target(saliency.target, labels),
        selection=SelectionRecord(
            filters=saliency.selection.filters, region=saliency.selection.region, subset=saliency.selection.subset
        ),
        state=saliency.state,
        grid=saliency.values.shape,
        min=float(saliency.values.min()) if finite else None,
        max=float(saliency.values.max()) if finite else None,
        head=saliency.head.value,
        noise=_noise(saliency, nsamples),
        guarded_cells=saliency.guarded_cells,
        noise_effect=saliency.noise_effect,
        standard_error=saliency.standard_error,
        files=MapFiles(**files),
    )


def predictions(explanation: Explanation, labels: Labels) -> tuple[Prediction, ...]:
    """Return the five classes the network finds most likely, the most likely first."""
    order = np.argsort(-explanation.logits, kind="stable")[:TOP]
    return tuple(
        Prediction(
            **_target(int(i), labels).model_dump(),
            probability=float(explanation.probabilities[i]),
            logit=float(explanation.logits[i]),
        )
        for i in order
        if np.isfinite(explanation.logits[i])
    )


def _files(saliency: SaliencyMap, image: Prepared, how: Artefacts) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if "raw" in how.write:
        buffer = io.BytesIO()
        np.save(buffer, saliency.values, allow_pickle=False)
        files["raw"] = buffer.getvalue()
    pictures: Sequence[str] = [kind for kind in ("heatmap", "overlay") if kind in how.write]
    if pictures and saliency.state != "ok":
        grey = np.full_like(image.picture, 96)
        for kind in pictures:
            files[kind] = save_png(placard(grey if kind == "heatmap" else image.picture, _WHY_NOT[saliency.state]))
    elif pictures:
        height, width = image.picture.shape[:2]
        values = place(normalise(saliency.values), image.box, (width, height))
        if "heatmap" in pictures:
            files["heatmap"] = save_png(heatmap(values, how.colormap))
        if "overlay" in pictures:
            files["overlay"] = save_png(overlay(image.picture, values, how.colormap, how.opacity))
    return files


def _noise(saliency: SaliencyMap, nsamples: int) -> str:
    if saliency.method != "smoothgradcam++":
        return "none: the method has none"
    if saliency.head is Head.AFFINE:
        return "no effect, affine head"
    return f"{nsamples} samples"


def _target(index: int, labels: Labels) -> TargetRecord:
    label = labels[index]
    return TargetRecord(index=index, label=label.name, wnid=label.wnid)
