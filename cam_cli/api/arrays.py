"""smoothcam from Python: the paper's own call, and one that returns all results of the engine.

Images are preprocessed arrays. For files, folders and records use the command line, or `cam_cli.pipeline.run.explain_run`.
"""

import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cam_cli.api.kept import explainer_of
from cam_cli.engine.checks import check_sequence, check_whole
from cam_cli.engine.noise import Noise
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.engine.selection import Selection
from cam_cli.errors import UsageError
from cam_cli.graph.tokens import Tokens
from cam_cli.render.upsample import upsample


def explain(
    model: keras.Model,
    images: ArrayLike,
    layers: Sequence[str] = ("auto",),
    targets: Sequence[int] = (-1,),
    request: Request | None = None,
    tokens: Tokens | None = None,
    against: Sequence[int] = (),
) -> list[Explanation]:
    """Explain a batch of images with any Keras classifier; the model is not changed.

    A second call with the same model, layers and shapes does not trace it again; see `api.kept`.

    Args:
        model: any Keras 3 image classifier.
        images: (N, H, W, C), preprocessed.
        layers: paths or unique ends of paths; `auto` takes the one that `choose_layer` finds.
        targets: class indices, or -r for the class of rank r in each image's scores.
        request: methods, selections, noise and seed; by default `Request()`.
        tokens: how a transformer's tokens cover the image; inferred if only one way is possible.
        against: explain each target against these classes: indices, -r for the class of rank r, `contrast.SECOND` for the most
            likely class beside the target, or `contrast.similar(n)` for the n classes of the nearest scores.

    Returns:
        An `Explanation` for each image, with raw maps at the layers' resolution.

    Raises:
        UsageError: no such layer, class, filter or neuron. ModelError: the model cannot be explained.
    """
    check_sequence("layers", layers, "layers", "('auto',)")
    for target in check_sequence("targets", targets, "classes", "(-1,)"):
        check_whole("a target", target)
    if not isinstance(request, Request | None):
        raise UsageError(f"request is {request!r}; it must be a Request, such as Request(nsamples=25)")
    batch = np.ascontiguousarray(images, np.float32)
    if batch.ndim != 4 or not len(batch):
        raise UsageError(f"images must have shape (N, H, W, C), not {batch.shape}")
    height, width, channels = batch.shape[1:]
    others = tuple(check_whole("a class to explain against", index) for index in against)
    explainer = explainer_of(
        model, (height, width, channels), tuple(layers), request or Request(), len(targets), tokens, against=len(others)
    )
    subjects = [Subject(x, hashlib.sha256(x.tobytes()).hexdigest(), tuple(targets), against=others) for x in batch]
    step = explainer.images_in_a_pass
    return [found for i in range(0, len(subjects), step) for found in explainer.explain(subjects[i : i + step])]


def grad_cam_plus_smooth(
    model: keras.Model,
    img: ArrayLike,
    layer_name: str,
    nsamples: int = 0,
    std_dev: float = 0.15,
    filters: Sequence[int] | None = None,
    region: bool = False,
    subset: Sequence[tuple[int, int]] | None = None,
    *,
    target: int = -1,
    seed: int = 0,
) -> NDArray[Any]:
    """Smooth Grad-CAM++ as the paper calls it (Omeiza et al. 2019, section 4), with the paper's defaults.

    Args:
        model: any Keras 3 image classifier.
        img: one preprocessed image, (H, W, C) or (1, H, W, C).
        layer_name: path of the layer, or a unique end of the path.
        nsamples: noisy copies; 0 is Grad-CAM++ on the clean image.
        std_dev: standard deviation of the noise, as a share of the image's value range.
        filters: feature maps that the map is made of; by default all.
        region: `subset` is two corners of a box, both inclusive, instead of single neurons.
        subset: neurons as (row, column) on the layer's grid.
        target: class index, or -r for the class of rank r; the paper's own call explains the predicted class.
        seed: of the noise.

    Returns:
        (H, W) float32 in 0..1: the map, enlarged bilinearly to the part of the image that the layer sees and divided by its
        maximum, 0 elsewhere; all 0, with a RuntimeWarning, if it has no value above 0.

    Raises:
        UsageError: no such layer, class, filter or neuron. ModelError: the model cannot be explained.
    """
    image = np.asarray(img, np.float32)
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or len(batch) != 1:
        raise UsageError(f"img must be one image of shape (H, W, C) or (1, H, W, C), not {image.shape}")
    selection = Selection(
        None if filters is None else tuple(check_sequence("filters", filters, "feature maps", "[0, 3]")),
        region,
        None
        if subset is None
        else tuple(_neuron(each) for each in check_sequence("subset", subset, "neurons", "[(0, 10)]")),
    )
    request = Request(selections=(selection,), nsamples=nsamples, noise=Noise(std_dev), seed=seed)
    saliency = explain(model, batch, (layer_name,), (target,), request)[0].maps[0]
    if saliency.state != "ok":
        warnings.warn(
            f"the map is {saliency.state}: nothing to see for class {saliency.target}", RuntimeWarning, stacklevel=2
        )
        return np.zeros(batch.shape[1:3], np.float32)
    height, width = batch.shape[1:3]
    enlarged = np.nan_to_num(upsample(saliency.values, (0, 0, width, height), (width, height), saliency.window))
    peak = enlarged.max()
    return np.asarray(enlarged / peak if peak > 0 else enlarged, np.float32)


def _neuron(pair: object) -> tuple[int, int]:
    numbers = check_sequence("a neuron", pair, "numbers", "(0, 10)")
    if len(numbers) != 2:
        raise UsageError(f"a neuron is {pair!r}; it must be a (row, column), such as (0, 10)")
    return check_whole("a row", numbers[0], 0), check_whole("a column", numbers[1], 0)
