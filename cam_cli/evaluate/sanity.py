"""Would a map look the same if the network had learned nothing? Model parameter randomisation, cascading from the top.

Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292, section 3.1.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.engine.analysis import analyse
from cam_cli.engine.explain import Explainer
from cam_cli.engine.request import Explanation, Request, Subject
from cam_cli.engine.scores import find_link
from cam_cli.errors import ModelError, UsageError
from cam_cli.evaluate.records import Sanity, Survival
from cam_cli.graph.layers import choose_scales, describe_layers
from cam_cli.graph.tokens import Tokens
from cam_cli.graph.trace import trace
from cam_cli.methods import families
from cam_cli.metrics.comparison import spearman
from cam_cli.models.randomise import layers_with_weights, randomised

Maps = dict[tuple[str, str, int], NDArray[np.float32]]
"""The maps of an image by layer, method and target."""


def maps_of(explanation: Explanation) -> Maps:
    """Return the maps of an explanation by their layer, method and target."""
    return {(m.layer, m.method, m.target): m.values for m in explanation.maps}


def sanity(
    model: Any,
    x: NDArray[Any],
    layers: Sequence[str],
    request: Request,
    targets: Sequence[Sequence[int]],
    *,
    stages: int = 3,
    limit: float = 0.5,
    tokens: Tokens | None = None,
) -> Sanity:
    """Compare the maps of some images under the network with those under copies of it that are randomised from the top down.

    The noise of both is the same, as it follows from the image and `request.seed`.

    Args:
        model: a Keras classifier; it is not changed.
        x: (N, H, W, C), preprocessed.
        layers: paths.
        request: methods and noise; of its selections the first is taken.
        targets: for each image its class indices, as many as for the others.
        stages: how often the maps are compared, after equal shares of the layers; each stage traces the model again.
        limit: a method survives if its mean correlation is above this with the whole network randomised.
        tokens: how a transformer's tokens lie on the image.

    Raises:
        UsageError: no image, no stage, targets that do not fit the images, or what the engine refuses.
        ModelError: the model cannot be copied or has no weights.
    """
    if not len(x) or len(targets) != len(x) or len({len(classes) for classes in targets}) != 1 or stages < 1:
        raise UsageError(
            "the sanity check needs an image, a stage, and for each image as many targets as for the others"
        )
    if any(target < 0 for classes in targets for target in classes):
        raise UsageError(
            "the sanity check needs class indices: the class of a rank is another one in a randomised network"
        )
    shape = x.shape[1:]
    paths = layers_with_weights(model, shape)
    if not paths:
        raise ModelError("the model has no weights that could be randomised; leave the sanity check out")

    link = find_link(trace(model, shape))

    def maps(network: Any) -> list[Maps]:
        traced = trace(network, shape)
        scales = choose_scales(describe_layers(traced, tokens)) if "two layers" in families(request.methods) else None
        wanted = replace(request, selections=request.selections[:1])
        analysis = analyse(traced, layers, scales, tokens, link)
        explainer = Explainer(network, analysis, wanted, len(targets[0]))
        subjects = [
            Subject(np.ascontiguousarray(one, np.float32), hashlib.sha256(one.tobytes()).hexdigest(), tuple(classes))
            for one, classes in zip(x, targets, strict=True)
        ]
        return [maps_of(explanation) for explanation in explainer.explain(subjects)]

    compared = {paths[math.ceil(len(paths) * (stage + 1) / stages) - 1] for stage in range(stages)}
    before = maps(model)
    found: dict[str, list[dict[tuple[str, str, int], float | None]]] = {}
    for path, copy in randomised(model, shape, seed=0):
        if path in compared:
            after = maps(copy)
            found[path] = [{k: spearman(b[k], a[k]) for k in b} for b, a in zip(before, after, strict=True)]
    survivals = []
    for kind in dict.fromkeys((layer, method) for layer, method, _ in before[0]):
        own = [
            [{t: r for (*of, t), r in image.items() if (*of,) == kind} for image in stage] for stage in found.values()
        ]
        known = [[r for image in stage for r in image.values() if r is not None] for stage in own]
        means = tuple(sum(stage) / len(stage) if stage else None for stage in known)
        survives = means[-1] is not None and means[-1] > limit
        layer, method = kind
        survivals.append(Survival(layer=layer, method=method, stages=means, images=tuple(own[-1]), survives=survives))
    return Sanity(stages=tuple(found), survivals=tuple(survivals))
