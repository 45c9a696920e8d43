"""Every saliency method, written once: what it explains, what it needs and how it is drawn. Without TensorFlow.

A new method is one row here and one formula: in `engine/methods.py`, or in `engine/baselines.py` for a peer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

Family = Literal["layer++", "layer", "two layers", "input", "peer"]
"""What a map is made of: the Grad-CAM++ weights of a layer, a layer's activations and gradient, those of two layers, the
gradient at the image, or whatever xplique does (the extra `baselines`)."""


@dataclass(frozen=True)
class Drawing:
    """How the values of a map become the shares, 0..1, that a picture shows: ((values - floor) / (ceiling - floor))^power.

    percentile: of the values, which is the ceiling; 100 is the maximum. from_minimum: the floor is the minimum, not 0.
    """

    percentile: float = 100.0
    from_minimum: bool = False
    power: float = 1.0


_PLAIN = Drawing()
_SPARSE = Drawing(percentile=99)
"""For gradients at the pixels, where a few pixels are far above the rest (Smilkov et al. 2017, section 3.1)."""
_OFFSET = Drawing(from_minimum=True)
"""For values that all have a large part in common."""


@dataclass(frozen=True)
class Method:
    """One method.

    help: one sentence. noise: it takes the noisy copies. pooled: it needs a layer that feeds global average pooling and one
    dense layer. of_class: its map depends on the class. in_file_names: file names of its maps have its name. power: what the
    values of its raw maps are raised to, so that the region above half the maximum does not cover too little; maps of before
    revision 1 were not. revision: raised when the numbers of this method alone change; its results are then made anew.
    """

    name: str
    family: Family
    paper: str
    help: str
    drawing: Drawing = _PLAIN
    noise: bool = False
    pooled: bool = False
    of_class: bool = True
    in_file_names: bool = True
    power: float = 1.0
    revision: int = 0

    @property
    def explains_cells(self) -> bool:
        """Return True if its maps explain the cells of one layer; stability and sanity are measured for these methods."""
        return self.family in ("layer++", "layer")

    @property
    def needs_layer(self) -> bool:
        """Return True if its maps are made of layers; others explain the input of any network."""
        return self.explains_cells or self.family == "two layers"


_ROWS = (
    Method(
        "smoothgradcam++", "layer++", "Omeiza et al. 2019, arXiv 1908.01224", "Grad-CAM++ averaged over noisy copies.",
        noise=True, in_file_names=False,
    ),
    Method("gradcam++", "layer++", "Chattopadhyay et al. 2018, arXiv 1710.11063", "Grad-CAM++ of the clean image."),
    Method("gradcam", "layer", "Selvaraju et al. 2017, arXiv 1610.02391", "Activations weighted by mean gradients."),
    Method("cam", "layer", "Zhou et al. 2016, arXiv 1512.04150", "Activations weighted by a dense layer.", pooled=True),
    Method("layercam", "layer", "Jiang et al. 2021", "Activations weighted by positive gradients, cell by cell."),
    Method("hirescam", "layer", "Draelos and Carin 2020, arXiv 2011.08891", "Activations times gradients, cell by cell."),
    Method(
        "twoscale", "two layers", "smoothcam", "Grad-CAM of one layer times the root of LayerCAM of a finer one.",
        power=2 / 3, revision=1,
    ),
    Method("activations", "layer", "", "The sum of the feature maps, without any weighting.", of_class=False),
    Method("gradient", "input", "Simonyan et al. 2013, arXiv 1312.6034", "Gradients at the pixels.", _SPARSE),
    Method(
        "smoothgrad", "input", "Smilkov et al. 2017, arXiv 1706.03825", "Gradients averaged over noisy copies.",
        _SPARSE, noise=True,
    ),
    Method(
        "guided-backprop", "peer", "Springenberg et al. 2014, arXiv 1412.6806", "Gradients, cut to positive at ReLUs.",
        _SPARSE,
    ),
    Method(
        "deconvnet", "peer", "Zeiler and Fergus 2013, arXiv 1311.2901", "Gradients, with each ReLU applied to them.",
        _SPARSE,
    ),
    Method("lime", "peer", "Ribeiro et al. 2016, arXiv 1602.04938", "Weights of superpixels in a linear model."),
    Method(
        "integrated-gradients", "peer", "Sundararajan et al. 2017, arXiv 1703.01365", "Gradients summed up from a plain image.",
        _SPARSE,
    ),
    Method("occlusion", "peer", "Zeiler and Fergus 2013, arXiv 1311.2901", "The drop of the score under a patch."),
    Method("rise", "peer", "Petsiuk et al. 2018, arXiv 1806.07421", "The mean score over random masks.", _OFFSET),
)  # fmt: skip

METHODS: Final[dict[str, Method]] = {method.name: method for method in _ROWS}
"""All methods by name, in the order in which they are listed."""


def families(names: Iterable[str]) -> set[Family]:
    """Return the families of the named methods."""
    return {METHODS[name].family for name in names}


def revisions(names: Iterable[str]) -> dict[str, int]:
    """Return the revision of each named method that has one above 0."""
    known = (METHODS[name] for name in names if name in METHODS)
    return {method.name: method.revision for method in known if method.revision}


def drawing_of(name: str, power: float = 1.0) -> Drawing:
    """Return how a method's maps are drawn; the plain way for a method that this version does not know.

    power: what the raw values are raised to already.
    """
    if name not in METHODS:
        return _PLAIN
    method = METHODS[name]
    return replace(method.drawing, power=method.drawing.power * method.power / power)
