"""A figure for a paper: the image, its overlay and a colour bar, under a title. With matplotlib, an extra."""

import io
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cam_cli.errors import UsageError
from cam_cli.render.colour import table
from cam_cli.render.contours import LEVELS
from cam_cli.render.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI: Final = 300
_WIDTH = 6.8
_BAR = 0.16
_TEXT = 0.5
_SETTINGS: Any = {"svg.hashsalt": "smoothcam", "svg.fonttype": "path", "pdf.fonttype": 42, "font.size": 8.0}
_NO_DATE: Final[dict[str, dict[str, Any]]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Caption:
    """What is written above a figure.

    label: the class that is explained. probability: of that class, 0..1. truth: the true class. Both are None where not known.
    details: method, layer, selection.
    """

    label: str
    probability: float | None
    truth: str | None
    details: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, str]:
        """The title, and the line below it."""
        sure = "" if self.probability is None else f" {self.probability:.2f}"
        truth = "" if self.truth is None else f", truth: {self.truth}"
        return one_line(f"{self.label}{sure}{truth}"), one_line(", ".join(self.details))


@dataclass(frozen=True)
class Scale:
    """What the colour bar tells: the colour map, and the values that are drawn as 0 and as 1 (see `picture.limits`)."""

    colormap: str
    floor: float
    ceiling: float
    power: float
    contours: bool


def check_installed() -> None:
    """Raise `UsageError` if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise UsageError("--write figure needs the extra: pip install 'smoothcam[figures]'")


def figure(image: NDArray[np.uint8], over: Image.Image, caption: Caption, scale: Scale | None, format: str) -> bytes:  # noqa: A002
    """Return a figure as the bytes of a file: the same bytes for the same pictures and texts.

    Args:
        image: (height, width, 3) uint8 RGB.
        over: the overlay, or a placard, of the same size.
        scale: of the colour bar; None: there is none.
        format: `png` of `DPI` dots an inch, `svg` or `pdf`.
    """
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        stream = io.BytesIO()
        _composed(image, over, caption, scale).savefig(stream, format=format, dpi=DPI, metadata=_NO_DATE[format])
    return stream.getvalue()


def _composed(image: NDArray[np.uint8], over: Image.Image, caption: Caption, scale: Scale | None) -> "Figure":
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    margin, gap = 0.08, 0.08
    bar = 0.75 if scale else 0.0
    panel = (_WIDTH - 2 * margin - gap - bar) / 2
    tall = panel * height / width
    figure = Figure(figsize=(_WIDTH, tall + _TEXT + margin), facecolor="white")
    total = figure.get_figheight()

    def axes(left: float, across: float) -> Any:
        return figure.add_axes((left / _WIDTH, margin / total, across / _WIDTH, tall / total))

    for number, picture in enumerate((image, np.asarray(over.convert("RGB")))):
        shown = axes(margin + number * (panel + gap), panel)
        shown.imshow(picture, interpolation="antialiased", aspect="auto")
        shown.set_axis_off()
    title, details = caption.lines
    for line, size, down in ((title, 10.0, 0.2), (details, 7.5, 0.38)):
        text = figure.text(margin / _WIDTH, 1 - down / total, line, size=size, va="center", parse_math=False)
        _shrink(text, figure)
    if scale:
        _draw_bar(axes(margin + 2 * (panel + gap), _BAR), scale)
    return figure


def _shrink(text: Any, figure: "Figure") -> None:
    """Make a text so small that it fits the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    across = text.get_window_extent(canvas.get_renderer()).width
    most = figure.bbox.width * (1 - 0.2 / _WIDTH)
    if across > most:
        text.set_size(text.get_size() * most / across)


def _draw_bar(axes: Any, scale: Scale) -> None:
    """Draw the colours from the lowest to the highest, and say which values of the map they stand for."""
    axes.imshow(table(scale.colormap)[:, None], origin="lower", aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    shares = np.linspace(0, 1, 6)
    axes.set_yticks(shares**scale.power, [f"{share:.1f}" for share in shares])
    axes.tick_params(length=2, pad=2, labelsize=7)
    floor = f"0.0 is {scale.floor:.3g}, " if scale.floor else ""
    axes.set_ylabel(f"{floor}1.0 is {scale.ceiling:.3g} in the raw map", size=6.5, labelpad=3)
    axes.yaxis.set_label_position("right")
    for level, width in LEVELS if scale.contours else ():
        axes.axhline(level, color="black", linewidth=width + 1)
        axes.axhline(level, color="white", linewidth=width / 2 + 0.25)
