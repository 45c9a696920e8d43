"""What the engine is asked for every image, one image to explain, and what comes back."""

from dataclasses import dataclass, field

from cam_cli.engine.checks import check_choice, check_number, check_sequence, check_whole
from cam_cli.engine.formulas import Array
from cam_cli.engine.maps import SaliencyMap
from cam_cli.engine.noise import Noise
from cam_cli.engine.passes import RuntimeName
from cam_cli.engine.selection import Selection
from cam_cli.errors import UsageError
from cam_cli.methods import METHODS
from cam_cli.window import WHOLE, Window


@dataclass(frozen=True)
class Request:
    """What to compute for every image.

    methods: of `cam_cli.methods`. selections: feature maps and neurons, a map for each. nsamples: noisy copies, n >= 0; with a
    tolerance, the largest number. tolerance: largest standard error of a map at which no more noise is added.
    score: `exp` weighs sample m by e^S_m as published, `logit` by 1/n. alpha_numerator: `second` (Eq. 5) or `first` (Eq. 7
    as printed). derivatives: `closed` form, or `exact` for heads that are smooth and whose second and third derivatives are
    diagonal. seed: of the noise, together with the image's identity.

    Raises UsageError, which names the value, for anything else.
    """

    methods: tuple[str, ...] = ("smoothgradcam++",)
    selections: tuple[Selection, ...] = (Selection(),)
    nsamples: int = 5
    tolerance: float | None = None
    noise: Noise = field(default_factory=Noise)
    score: str = "exp"
    alpha_numerator: str = "second"
    derivatives: str = "closed"
    seed: int = 0

    def __post_init__(self) -> None:
        for method in check_sequence("methods", self.methods, "methods", "('smoothgradcam++',)"):
            check_choice("a method", method, METHODS)
        for selection in check_sequence("selections", self.selections, "selections", "(Selection(),)"):
            if not isinstance(selection, Selection):
                raise UsageError(
                    f"a selection is {selection!r}; it must be a Selection, such as Selection(filters=(0, 3))"
                )
        check_whole("nsamples", self.nsamples, 0)
        if self.tolerance is not None:
            check_number("tolerance", self.tolerance, above_zero=True)
        if not isinstance(self.noise, Noise):
            raise UsageError(f"noise is {self.noise!r}; it must be a Noise, such as Noise(0.15)")
        check_choice("score", self.score, ("exp", "logit"))
        check_choice("alpha_numerator", self.alpha_numerator, ("second", "first"))
        check_choice("derivatives", self.derivatives, ("closed", "exact"))
        check_whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class FurtherInput:
    """An image at a further input size: x, (H, W, C) float32, preprocessed; window: the part of the first input in it."""

    x: Array
    window: Window = WHOLE


@dataclass(frozen=True)
class Subject:
    """One image to explain.

    x: (H, W, C) float32, preprocessed. identity: seeds its noise, such as the sha256 of its file. targets: class indices, or -r
    for the class of rank r in the clean image's scores. further: the image at each further input size, in the order of
    `ModelAnalysis.sizes`. against: the classes that the targets are explained against, see `cam_cli.contrast`.
    """

    x: Array
    identity: str
    targets: tuple[int, ...] = (-1,)
    further: tuple[FurtherInput, ...] = ()
    against: tuple[int, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """The maps of one image, with its logits and probabilities, both (classes,) float32, and the runtime that computed them."""

    logits: Array
    probabilities: Array
    targets: tuple[int, ...]
    maps: tuple[SaliencyMap, ...]
    runtime: RuntimeName = "tensorflow"
