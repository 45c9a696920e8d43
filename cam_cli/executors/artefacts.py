"""From an explanation to its files: raw maps, pictures, and the records of the manifest."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.model_analysis import Head
from cam_cli.engine.request import Explanation
from cam_cli.methods import METHODS
from cam_cli.models.labels import Labels
from cam_cli.render.encode import ENCODERS
from cam_cli.render.figure import Caption, Scale, figure
from cam_cli.render.joint import MOST_CLASSES, joint
from cam_cli.render.picture import drawn, heatmap, limits, overlay, placard
from cam_cli.render.upsample import upsample
from cam_cli.results.files import write_new
from cam_cli.results.layout import file_name, stem
from cam_cli.results.manifest import JointRecord, MapRecord, Prediction, TargetRecord, TruthRecord
from cam_cli.results.truth import THRESHOLD, ImageTruth, truth_record
from cam_cli.text import ranges
from cam_cli.window import WHOLE

_WHY_NOT = {"blank": "blank map: nothing speaks for the class", "nonfinite": "no map: the numbers are not finite"}
TOP = 5


def publish_map(
    saliency: SaliencyMap, image: DecodedImage, labels: Labels, caption: Caption, folder: Path, config: RunConfig
) -> MapRecord:
    """Write one map's files into `folder` and return its record; raises OSError if a file cannot be written."""
    name = stem(saliency)
    files = {}
    for kind, data in _files(saliency, image, caption, config).items():
        files[kind] = file_name(name, kind, config.picture_format, config.figure_format)
        write_new(folder / files[kind], data)
    finite = saliency.state != "nonfinite"
    noise_is_lost = METHODS[saliency.method].noise and saliency.head is Head.AFFINE
    return MapRecord.of(
        saliency,
        target=_target(saliency.target, labels),
        grid=saliency.values.shape,
        window=None if saliency.window == WHOLE else saliency.window,
        sizes=saliency.sizes or None,
        against=tuple(_target(index, labels) for index in saliency.against),
        power=METHODS[saliency.method].power,
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
        file = file_name(name, "joint", config.picture_format)
        picture = joint(image.picture, upsampled, legend, config.opacity)
        write_new(folder / file, ENCODERS[config.picture_format](picture))
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


def caption(saliency: SaliencyMap, explanation: Explanation, truth: ImageTruth, labels: Labels) -> Caption:
    """Return what a figure of one of an image's maps says."""
    selection = saliency.selection
    details = [saliency.method, saliency.layer]
    details += [f"filters {ranges(selection.filters)}"] if selection.filters is not None else []
    details += [f"top {selection.top} neurons"] if selection.top is not None else []
    if selection.subset is not None and selection.top is None:
        neurons = " ".join(f"{row},{column}" for row, column in selection.subset)
        details.append(f"{'region' if selection.region else 'neurons'} {neurons}")
    probability = float(explanation.probabilities[saliency.target])
    return Caption(
        labels[saliency.target].name,
        probability if np.isfinite(probability) else None,
        " and ".join(labels[index].name for index in truth.classes) or None,
        tuple(details),
    )


def true_classes(explanation: Explanation, truth: ImageTruth, labels: Labels) -> tuple[TruthRecord, ...]:
    """Return the true classes of an image with the rank and the probability that the network gives them."""
    order = np.argsort(-explanation.logits, kind="stable")
    ranks = {int(index): rank for rank, index in enumerate(order, 1)} if truth.classes else {}
    found = {index: float(explanation.probabilities[index]) for index in truth.classes}
    return tuple(
        truth_record(i, labels, ranks[i], p) if np.isfinite(p) else truth_record(i, labels) for i, p in found.items()
    )


def _files(saliency: SaliencyMap, image: DecodedImage, caption: Caption, config: RunConfig) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if "raw" in config.write:
        buffer = io.BytesIO()
        np.save(buffer, saliency.values, allow_pickle=False)
        files["raw"] = buffer.getvalue()
    if not {"heatmap", "overlay", "figure"} & {*config.write}:
        return files
    why_not = _WHY_NOT.get(saliency.state)
    height, width = image.picture.shape[:2]
    values = None if why_not else upsample(_drawn(saliency), image.box, (width, height), saliency.window)
    if "heatmap" in config.write:
        grey = np.full_like(image.picture, 96)
        heat = placard(grey, why_not or "") if values is None else heatmap(values, config.colormap)
        files["heatmap"] = ENCODERS["png"](heat)
    if not {"overlay", "figure"} & {*config.write}:
        return files
    if values is None:
        over = placard(image.picture, why_not or "")
    else:
        over = overlay(image.picture, values, config.colormap, config.opacity, contours=config.contours)
    if "overlay" in config.write:
        files["overlay"] = ENCODERS[config.picture_format](over)
    if "figure" in config.write:
        scale = None if values is None else _scale(saliency, config)
        files["figure"] = figure(image.picture, over, caption, scale, config.figure_format)
    return files


def _scale(saliency: SaliencyMap, config: RunConfig) -> Scale:
    drawing = METHODS[saliency.method].drawing
    return Scale(config.colormap, *limits(saliency.values, drawing), drawing.power, config.contours)


def _drawn(saliency: SaliencyMap) -> NDArray[np.float32]:
    return drawn(saliency.values, METHODS[saliency.method].drawing)


def _target(index: int, labels: Labels) -> TargetRecord:
    label = labels[index]
    return TargetRecord(index=index, label=label.name, wnid=label.wnid)
