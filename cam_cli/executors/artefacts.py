"""From an explanation to its files: raw maps, pictures, and the records of the manifest."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage
from cam_cli.engine.head import Head
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.request import Explanation
from cam_cli.methods import METHODS
from cam_cli.models.labels import Labels
from cam_cli.render.encode import ENCODERS
from cam_cli.render.joint import MOST_CLASSES, joint
from cam_cli.render.picture import drawn, heatmap, overlay, placard
from cam_cli.render.upsample import upsample
from cam_cli.results.files import write_new
from cam_cli.results.layout import PICTURE_FORMATS, file_name, stem
from cam_cli.results.manifest import JointRecord, MapRecord, Prediction, TargetRecord, TruthRecord
from cam_cli.results.truth import THRESHOLD, ImageTruth, truth_record
from cam_cli.window import WHOLE

encode = ENCODERS[PICTURE_FORMATS[0]]
_WHY_NOT = {"blank": "blank map: nothing speaks for the class", "nonfinite": "no map: the numbers are not finite"}
TOP = 5


def publish_map(
    saliency: SaliencyMap, image: DecodedImage, labels: Labels, folder: Path, config: RunConfig
) -> MapRecord:
    """Write one map's files into `folder` and return its record; raises OSError if a file cannot be written."""
    name = stem(saliency)
    files = {}
    for kind, data in _files(saliency, image, config).items():
        files[kind] = file_name(name, kind)
        write_new(folder / files[kind], data)
    finite = saliency.state != "nonfinite"
    noise_is_lost = METHODS[saliency.method].noise and saliency.head is Head.AFFINE
    return MapRecord.of(
        saliency,
        target=_target(saliency.target, labels),
        grid=saliency.values.shape,
        window=None if saliency.window == WHOLE else saliency.window,
        min=float(saliency.values.min()) if finite else None,
        max=float(saliency.values.max()) if finite else None,
        derivatives="exact" if saliency.exact else "approximate",
        head=saliency.head.value,
        noise="no effect, affine head" if noise_is_lost else f"{saliency.samples} samples",
        files=files,
    )


def publish_joint(
    maps: Sequence[SaliencyMap], image: DecodedImage, labels: Labels, folder: Path, config: RunConfig
) -> tuple[JointRecord, ...]:
    """Write, if `write` has joint, a picture of all targets for each kind of map that has several; return their records."""
    groups: dict[str, list[SaliencyMap]] = {}
    for saliency in maps if "joint" in config.write else ():
        if saliency.state == "ok":
            groups.setdefault(stem(saliency, "joint"), []).append(saliency)
    height, width = image.picture.shape[:2]
    records = []
    for name, group in groups.items():
        shown = group[:MOST_CLASSES]
        if len(shown) < 2:
            continue
        upsampled = [upsample(_drawn(m), image.box, (width, height), m.window) for m in shown]
        legend = [f"{labels[m.target].name} ({m.target})" for m in shown]
        file = file_name(name, "joint")
        write_new(folder / file, encode(joint(image.picture, upsampled, legend, config.opacity)))
        records.append(JointRecord.of(shown[0], targets=tuple(m.target for m in shown), file=file))
    return tuple(records)


def predictions(explanation: Explanation, labels: Labels, *, multi_label: bool = False) -> tuple[Prediction, ...]:
    """Return the five classes the network finds most likely, the most likely first.

    multi_label: also all others of at least `THRESHOLD`.
    """
    predicted = int((explanation.probabilities >= THRESHOLD).sum()) if multi_label else 0
    order = np.argsort(-explanation.logits, kind="stable")[: max(TOP, predicted)]
    return tuple(
        Prediction(
            **_target(int(i), labels).model_dump(),
            probability=float(explanation.probabilities[i]),
            logit=float(explanation.logits[i]),
        )
        for i in order
        if np.isfinite(explanation.logits[i]) and np.isfinite(explanation.probabilities[i])
    )


def true_classes(explanation: Explanation, truth: ImageTruth, labels: Labels) -> tuple[TruthRecord, ...]:
    """Return the true classes of an image with the rank and the probability that the network gives them."""
    order = np.argsort(-explanation.logits, kind="stable")
    ranks = {int(index): rank for rank, index in enumerate(order, 1)} if truth.classes else {}
    found = {index: float(explanation.probabilities[index]) for index in truth.classes}
    return tuple(
        truth_record(i, labels, ranks[i], p) if np.isfinite(p) else truth_record(i, labels) for i, p in found.items()
    )


def _files(saliency: SaliencyMap, image: DecodedImage, config: RunConfig) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if "raw" in config.write:
        buffer = io.BytesIO()
        np.save(buffer, saliency.values, allow_pickle=False)
        files["raw"] = buffer.getvalue()
    pictures = {"heatmap", "overlay"} & set(config.write)
    if pictures and saliency.state != "ok":
        backgrounds = {"heatmap": np.full_like(image.picture, 96), "overlay": image.picture}
        for kind in pictures:
            files[kind] = encode(placard(backgrounds[kind], _WHY_NOT[saliency.state]))
    elif pictures:
        height, width = image.picture.shape[:2]
        values = upsample(_drawn(saliency), image.box, (width, height), saliency.window)
        if "heatmap" in pictures:
            files["heatmap"] = encode(heatmap(values, config.colormap))
        if "overlay" in pictures:
            files["overlay"] = encode(overlay(image.picture, values, config.colormap, config.opacity))
    return files


def _drawn(saliency: SaliencyMap) -> NDArray[np.float32]:
    return drawn(saliency.values, METHODS[saliency.method].drawing)


def _target(index: int, labels: Labels) -> TargetRecord:
    label = labels[index]
    return TargetRecord(index=index, label=label.name, wnid=label.wnid)
