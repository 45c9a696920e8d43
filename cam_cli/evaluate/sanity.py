"""Would a map look the same if the network had learned nothing? Model parameter randomisation, cascading from the top.

Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv 1810.03292, section 3.1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cam_cli.errors import ModelError, UsageError
from cam_cli.evaluate.correlation import spearman
from cam_cli.methods import families

if TYPE_CHECKING:
    from cam_cli.engine.explain import Request
    from cam_cli.models.grid import Tokens

STAGES = 3
SURVIVES = 0.5

Key = tuple[str, str, int]
"""Layer, method and target of a map."""

Correlations = Mapping[Key, float | None]


@dataclass(frozen=True)
class Survival:
    """What one method's maps at one layer keep of themselves while the network is randomised.

    stages: the mean correlation over photos and targets at each stage of `Sanity.stages`. photos: for each photo that of each
    target, at the last stage. All are rank correlations, -1..1; None where a map has one value only. survives: the maps hardly
    depend on what the network learned.
    """

    layer: str
    method: str
    stages: tuple[float | None, ...]
    photos: tuple[Mapping[int, float | None], ...]
    survives: bool

    @property
    def correlation(self) -> float | None:
        """The mean with the whole network randomised."""
        return self.stages[-1]


@dataclass(frozen=True)
class Sanity:
    """What the check found. stages: the lowest layer randomised at each stage; at the last it is the whole network."""

    stages: tuple[str, ...]
    survivals: tuple[Survival, ...]


def sanity(
    model: Any,
    x: NDArray[Any],
    layers: Sequence[str],
    request: Request,
    targets: Sequence[Sequence[int]],
    *,
    seed: int = 0,
    stages: int = STAGES,
    limit: float = SURVIVES,
    tokens: Tokens | None = None,
) -> Sanity:
    """Compare the maps of some photos under the network with those under copies of it that are randomised from the top down.

    The noise of both is the same, as it follows from the photo and `request.seed`.

    Args:
        model: a Keras classifier; it is not changed.
        x: (N, H, W, C), preprocessed.
        layers: paths. request: methods and noise; of its selections the first is taken.
        targets: for each photo its class indices, as many as for the others.
        seed: of the randomisation.
        stages: how often the maps are compared, after equal shares of the layers; each stage traces the model again.
        limit: a method survives when its mean correlation is above this with the whole network randomised.
        tokens: how a transformer's tokens lie on the photo.

    Raises:
        UsageError: no photo, no stage, targets that do not fit the photos, or what the engine refuses.
        ModelError: the model cannot be copied or has no weights.
    """
    from cam_cli.models.randomise import layers_with_weights, randomised

    if not len(x) or len(targets) != len(x) or len({len(classes) for classes in targets}) != 1 or stages < 1:
        raise UsageError(
            "the sanity check needs a photo, a stage, and for each photo as many targets as for the others"
        )
    if any(target < 0 for classes in targets for target in classes):
        raise UsageError(
            "the sanity check needs class indices: the class of a rank is another one in a randomised network"
        )
    height, width, channels = x.shape[1:]
    paths = layers_with_weights(model, (height, width, channels))
    if not paths:
        raise ModelError("the model has no weights that could be randomised; leave the sanity check out")
    compared = {paths[math.ceil(len(paths) * (stage + 1) / stages) - 1] for stage in range(stages)}
    before = _maps(model, x, layers, request, targets, tokens)
    found: dict[str, list[Correlations]] = {}
    for path, copy in randomised(model, (height, width, channels), seed):
        if path in compared:
            after = _maps(copy, x, layers, request, targets, tokens)
            found[path] = [{k: spearman(b[k], a[k]) for k in b} for b, a in zip(before, after, strict=True)]
    kinds = dict.fromkeys((layer, method) for layer, method, _ in before[0])
    return Sanity(tuple(found), tuple(_survival(layer, method, list(found.values()), limit) for layer, method in kinds))


def _survival(layer: str, method: str, stages: list[list[Correlations]], limit: float) -> Survival:
    own = [[{t: r for (at, by, t), r in photo.items() if (at, by) == (layer, method)} for photo in s] for s in stages]
    means = tuple(_mean([r for photo in stage for r in photo.values()]) for stage in own)
    return Survival(layer, method, means, tuple(own[-1]), means[-1] is not None and means[-1] > limit)


def _mean(correlations: Sequence[float | None]) -> float | None:
    known = [r for r in correlations if r is not None]
    return sum(known) / len(known) if known else None


def _maps(
    model: Any,
    x: NDArray[Any],
    layers: Sequence[str],
    request: Request,
    targets: Sequence[Sequence[int]],
    tokens: Tokens | None,
) -> list[dict[Key, NDArray[np.float32]]]:
    from cam_cli.engine.analysis import analyse
    from cam_cli.engine.explain import Explainer, Subject
    from cam_cli.models.calls import trace
    from cam_cli.models.layers import choose_scales, describe_layers

    height, width, channels = x.shape[1:]
    traced = trace(model, (height, width, channels))
    scales = choose_scales(describe_layers(traced, tokens)) if "two layers" in families(request.methods) else None
    wanted = replace(request, selections=request.selections[:1])
    explainer = Explainer(model, analyse(traced, layers, scales, tokens), wanted, len(targets[0]))
    subjects = [
        Subject(np.ascontiguousarray(photo, np.float32), hashlib.sha256(photo.tobytes()).hexdigest(), tuple(classes))
        for photo, classes in zip(x, targets, strict=True)
    ]
    return [{(m.layer, m.method, m.target): m.values for m in one.maps} for one in explainer.explain(subjects)]
