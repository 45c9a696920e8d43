"""The passes of `twoscale` at further input sizes: the same images, larger or smaller, for the classes decided on already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cam_cli.contrast import settled
from cam_cli.engine.methods import LayerGradient, SizeMaps
from cam_cli.engine.model_analysis import ModelAnalysis, ScalesAtSize
from cam_cli.engine.passes import GraphCache, PassSpec, RuntimeName
from cam_cli.engine.request import FurtherInput, Subject
from cam_cli.engine.runner import PassRunner, compile_pass, most_rows
from cam_cli.errors import UsageError

if TYPE_CHECKING:
    import keras


class SizePasses:
    """Runs the clean images at each further input size; a pass has fewer images the larger they are.

    Args:
        open_model: opens the model, if the graph of a pass is not cached.
        analysis: of the model, with `sizes`.
        targets: how many targets each image has.
        against: how many classes each target is explained against, at the most.
        rows: how many images of the analysis's own input size share a pass.
        precision: `float32` or `bfloat16`.
        graphs: a cache for traced passes.
        runtime: what runs the network.
    """

    def __init__(
        self,
        open_model: Callable[[], keras.Model],
        analysis: ModelAnalysis,
        targets: int,
        against: int,
        rows: int,
        precision: str,
        graphs: GraphCache | None,
        runtime: RuntimeName = "tensorflow",
    ) -> None:
        self._analysis = analysis
        self._targets, self._against = targets, against
        own = analysis.input_shape[0] * analysis.input_shape[1]
        self._further = [size for size in analysis.sizes if size.input_shape != analysis.input_shape]

        def run(size: ScalesAtSize) -> PassRunner:
            images = max(1, round(rows * own / (size.input_shape[0] * size.input_shape[1])))
            if analysis.random:  # what is drawn for a row of a pass depends on its number
                images = 1
            return self._compiled(size, min(images, most_rows(runtime, size.bytes_for_one_image, size.input_shape)))

        self._open_model, self._precision, self._graphs, self._runtime = open_model, precision, graphs, runtime
        self._runs = [run(size) for size in self._further]

    def maps(
        self, subjects: Sequence[Subject], targets: NDArray[np.int32], against: NDArray[np.int32]
    ) -> list[list[list[SizeMaps]]]:
        """Return the two maps of `twoscale` at each further size, by image and target.

        Args:
            subjects: images with an input for each of these sizes.
            targets: (B, T), class indices.
            against: (B, T, R), class indices, -1 for none.

        Raises:
            UsageError: an image lacks an input of one of the sizes. MemoryError: not even one image fits.
        """
        found: list[list[list[SizeMaps]]] = [[[] for _ in range(self._targets)] for _ in subjects]
        for number in range(len(self._further)):
            start = 0
            while start < len(subjects):
                run = self._runs[number]
                some = slice(start, start + run.spec.images)
                inputs = [_input(subject, number, run.spec.input) for subject in subjects[some]]
                try:
                    result = self._in_a_pass(run, inputs, targets[some], against[some])
                except MemoryError:
                    if run.spec.images == 1:
                        raise
                    self._runs[number] = self._compiled(self._further[number], run.spec.images // 2)
                    continue
                for of_image, made in zip(found[some], result, strict=True):
                    for of_target, maps in zip(of_image, made, strict=True):
                        of_target.append(maps)
                start += len(inputs)
        return found

    def _compiled(self, size: ScalesAtSize, images: int) -> PassRunner:
        classes, link = self._analysis.classes, self._analysis.link
        spec = PassSpec(images, 1, self._targets, size.input_shape, classes, link, size.grids, against=self._against)
        return compile_pass(self._open_model, spec, self._precision, self._graphs, self._runtime)

    def _in_a_pass(
        self, run: PassRunner, inputs: Sequence[FurtherInput], targets: NDArray[np.int32], against: NDArray[np.int32]
    ) -> list[list[SizeMaps]]:
        assert self._analysis.scales is not None
        coarse, fine = self._analysis.scales
        images = run.spec.images if self._runtime == "tensorflow" else len(inputs)  # TensorFlow's passes have one size
        rows = [min(row, len(inputs) - 1) for row in range(images)]  # the last image fills the pass
        x = np.stack([inputs[row].x for row in rows])
        result = run(x, targets[rows], settled(against[rows]))

        def layer(path: str, b: int, t: int) -> LayerGradient:
            window = run.spec.grids[path].window.inside(inputs[b].window)
            return LayerGradient(result.activations[path][b], result.derivatives[path][t][0][b, 0], window)

        return [
            [SizeMaps.of(layer(coarse, b, t), layer(fine, b, t)) for t in range(self._targets)]
            for b in range(len(inputs))
        ]


def _input(subject: Subject, number: int, shape: tuple[int, int, int]) -> FurtherInput:
    found = subject.further[number] if number < len(subject.further) else None
    if found is None or found.x.shape != shape:
        rows, columns, _ = shape
        raise UsageError(f"an image has no input of {rows}x{columns}, which sizes ask for; give it at all sizes")
    return found
