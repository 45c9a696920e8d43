"""The flags of a run, one for each key of `RunConfig`; here values stay text and defaults unset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cam_cli.cli.complete import Setting

if TYPE_CHECKING:
    from cam_cli.config import Resolved

Command = TypeVar("Command", bound=Callable[..., Any])

_SETTINGS = (
    click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="YAML file of settings (see `config init`); flags and SMOOTHCAM_* variables win over it.",
    ),
)

_MODEL = (
    click.option(
        "--model",
        metavar="NAME|PATH",
        help="Model to explain: a bundled name, a keras.applications name or a file, e.g. vgg16-lite or "
        "flowers.keras. [default: chosen by the layer]",
    ),
    click.option(
        "--weights",
        metavar="FILE",
        help="Weights of a keras.applications model, .weights.h5, .h5 or .keras. [default: fetched by Keras]",
    ),
    click.option(
        "--unsafe-lambda/--no-unsafe-lambda",
        default=None,
        help="Run the code that Lambda and other layers bring along: only for files you trust. [default: no-unsafe-lambda]",
    ),
)

_MAPS = (
    click.option(
        "--layer",
        "layers",
        metavar="LAYER",
        multiple=True,
        help="Layer to explain, by path or unique suffix, e.g. block5_conv3; repeatable. [default: auto]",
    ),
    click.option(
        "--method",
        "methods",
        metavar="METHOD",
        multiple=True,
        help="One of smoothgradcam++, gradcam++, gradcam, cam, layercam, hirescam, twoscale, activations, gradient, "
        "smoothgrad; with the extra `baselines` guided-backprop, deconvnet, lime, integrated-gradients, occlusion, rise; "
        "repeatable. [default: smoothgradcam++]",
    ),
    click.option(
        "--target",
        "targets",
        metavar="CLASS",
        multiple=True,
        help="Class to explain: index, name, WordNet id, predicted, topN, e.g. top5, or folder: the class that the image's "
        "folder is named for; repeatable. [default: predicted]",
    ),
    click.option(
        "--targets-from",
        metavar="FILE",
        help="CSV with columns path and target: further classes for each image, relative to the root. [default: none]",
    ),
    click.option(
        "--nsamples",
        metavar="N",
        help="Noisy copies of each image; 0: the clean image alone (Grad-CAM++); auto: until --tolerance. [default: 5]",
    ),
    click.option(
        "--tolerance",
        metavar="X",
        help="Largest standard error of a map, as a share of its peak, for --nsamples auto. [default: 0.01]",
    ),
    click.option(
        "--std-dev",
        metavar="X",
        help="Standard deviation of the noise, in units of --noise-scale. [default: 0.15]",
    ),
    click.option(
        "--noise-scale",
        metavar="range|absolute",
        help="Whether --std-dev is a share of the input's max - min or in input units. [default: range]",
    ),
    click.option("--seed", metavar="N", help="Seed of the noise; same seed, same maps. [default: 0]"),
    click.option(
        "--score",
        metavar="exp|logit",
        help="Weight of a noisy copy: exp of its score, as published, or all the same. [default: exp]",
    ),
    click.option(
        "--alpha-numerator",
        metavar="second|first",
        help="Derivative above alpha's bar: second is Eq. 5, first is Eq. 7 as printed. [default: second]",
    ),
    click.option(
        "--derivatives",
        metavar="closed|exact",
        help="Powers of the gradient, or true derivatives where the layer's activation is smooth. [default: closed]",
    ),
    click.option(
        "--precision",
        metavar="auto|float32|bfloat16",
        help="Of the network's products; auto: bfloat16 where a trial shows it faster and as good. [default: float32]",
    ),
    click.option("--filters", metavar="LIST", help="Feature maps to use, from 0, e.g. 0,3,10-12. [default: all]"),
    click.option(
        "--filter-maps",
        metavar="combined|each|both",
        help="One map of all --filters, each filter's own, or both. [default: combined]",
    ),
    click.option(
        "--subset",
        metavar="PAIRS",
        help='Neurons to use as row,column from 0, e.g. "0,10 12,12", or top:5, the largest of each map. [default: all]',
    ),
    click.option(
        "--region/--no-region",
        default=None,
        help="Take the two neurons of --subset as corners of a box, both included. [default: no-region]",
    ),
)

_OUTPUT = (
    click.option(
        "-o",
        "--output",
        metavar="FOLDER|URL",
        help="Folder that the run is written to, or a place in a store, e.g. s3://bucket/out. [default: smoothcam_out]",
    ),
    click.option(
        "--write",
        metavar="LIST",
        help="Files for each map, e.g. raw,overlay; joint: one picture of all targets. [default: raw,heatmap,overlay]",
    ),
    click.option(
        "--sheet/--no-sheet",
        default=None,
        help="Also write sheet.jpg, one contact sheet of this run. [default: no-sheet]",
    ),
    click.option(
        "--colormap",
        metavar="inferno|viridis|magma|turbo|jet",
        help="Colours of the pictures. [default: inferno]",
    ),
    click.option(
        "--opacity",
        metavar="X",
        help="Share of the heatmap in an overlay, above 0 to 1. [default: 0.6]",
    ),
    click.option(
        "--picture-size",
        metavar="PIXELS",
        help="Long side of the heatmaps and overlays. [default: 640]",
    ),
)

_IMAGES = (
    click.option(
        "--root",
        metavar="FOLDER|URL",
        help="Name images relative to this folder. [default: the one that holds all PATHs; with a list, where you are]",
    ),
    click.option(
        "--files-from",
        metavar="FILE",
        multiple=True,
        help="Also take the images and folders in this list, one a line; - is stdin; repeatable. [default: none]",
    ),
    click.option(
        "--files-from0",
        metavar="FILE",
        multiple=True,
        help="The same with NUL after each path, as find -print0 writes it; repeatable. [default: none]",
    ),
    click.option(
        "--ext",
        metavar="LIST",
        help="Endings of the files taken from folders. [default: jpg,jpeg,png,webp,gif,bmp,tif,tiff]",
    ),
    click.option(
        "--exclude",
        metavar="GLOB",
        multiple=True,
        help="Leave out files and folders of this name or, with a slash, path below the root; repeatable. [default: none]",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Only part I of N of the images, counted from 1, e.g. 2/8; see `summarize`. [default: all]",
    ),
)

_RUNNING = (
    click.option(
        "--retry-failed/--no-retry-failed",
        default=None,
        help="Try images again that failed in an earlier run. [default: no-retry-failed]",
    ),
    click.option("--max-failures", metavar="N", help="Stop when more than N images have failed. [default: never]"),
    click.option(
        "--fail-fast/--no-fail-fast", default=None, help="Stop at the first image that fails. [default: no-fail-fast]"
    ),
    click.option(
        "--lock-wait",
        metavar="SECONDS",
        help="Wait for another run in the same output folder, rather than end with 11. [default: 0]",
    ),
    click.option(
        "--progress-every",
        metavar="SECONDS",
        help="Time between lines on how far the run is, where there is no terminal. [default: 30]",
    ),
    click.option("--log-file", metavar="FILE", help="Also add all that is said to this file. [default: none]"),
    click.option(
        "--max-pixels",
        metavar="N",
        help="Refuse images with more pixels than this. [default: 200000000]",
    ),
    click.option(
        "--workers", metavar="N", help="Processes that read and decode images. [default: half the cores, up to 4]"
    ),
    click.option(
        "--image-timeout",
        metavar="SECONDS",
        help="Give an image up whose reading and decoding takes longer. [default: 60]",
    ),
    click.option(
        "--audit",
        metavar="LIST",
        help="Bounds, e.g. max_failed=1%,max_blank=5%; exit code 5 if crossed. [default: none]",
    ),
    click.option("--device", metavar="auto|cpu|gpu", help="Where to compute; gpu:1 is the second GPU. [default: auto]"),
    click.option(
        "--batch", metavar="N", help="Images in one pass of the network. [default: found out while the run goes on]"
    ),
    click.option(
        "--on",
        metavar="ray[://ADDRESS]",
        help="Explain in actors on a Ray cluster: ray starts one here, ray://HOST:PORT or ray://auto takes one there is; with "
        "the extra `ray`. [default: in this process]",
    ),
    click.option(
        "--actors", metavar="N", help="How many actors on Ray. [default: one for each GPU, or for four cores]"
    ),
    click.option(
        "--cache/--no-cache",
        default=None,
        help="Keep traced graphs for the next start, in ~/.cache/smoothcam or $XDG_CACHE_HOME/smoothcam. [default: cache]",
    ),
)

_INPUT = (
    click.option(
        "--input-size",
        metavar="HxW",
        help="Height x width the model takes, e.g. 224x224 or 224. [default: the model card's]",
    ),
    click.option(
        "--fit",
        metavar="stretch|crop|letterbox",
        help="How an image fits the model's input. [default: the model card's]",
    ),
    click.option(
        "--channels",
        metavar="rgb|bgr|rgba|grey",
        help="Channel order of the model's input. [default: the model card's]",
    ),
    click.option(
        "--mean",
        metavar="LIST",
        help="Subtracted from 0..255 values, e.g. 123.7,116.8,103.9. [default: the model card's]",
    ),
    click.option(
        "--std",
        metavar="LIST",
        help="Divides what --mean leaves, e.g. 58.4,57.1,57.4. [default: the model card's]",
    ),
    click.option(
        "--labels",
        metavar="FILE",
        help="Class names: a CSV with a column `name`, or one name a line. [default: the model card's]",
    ),
)


_SECTIONS = {
    "Images": _IMAGES,
    "Model": (*_MODEL, *_INPUT),
    "Maps": _MAPS,
    "Output": _OUTPUT,
    "Run": _RUNNING,
}


class RunCommand(click.Command):
    """A click command whose help lists the `run_options` by what they are about, and its own options last."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.type is click.STRING:
                parameter.type = Setting()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each section under its title."""
        titles = {name: title for title, options in _SECTIONS.items() for name in _names(options)}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*_SECTIONS, "Options")}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                sections[titles.get(parameter.name, "Options")].append(record)
        for title, records in sections.items():
            if not records:
                continue
            with formatter.section(title):
                formatter.write_dl(records)


def model_options(command: Command) -> Command:
    """Give a click command only those of the `run_options` that say which model is meant, and how it is fed."""
    return _decorated(command, (*_SETTINGS, *_MODEL, *_INPUT))


def run_options(command: Command) -> Command:
    """Give a click command `--config` (argument `config_file`) and one flag per key of `RunConfig`."""
    return _decorated(command, (*_SETTINGS, *chain.from_iterable(_SECTIONS.values())))


def resolve_options(options: Mapping[str, Any]) -> Resolved:
    """Return the settings that a command's `run_options` arguments, environment and YAML file add up to.

    Raises:
        ConfigError: see `cam_cli.config.resolve`.
    """
    from cam_cli.config import resolve

    flags = {key: value for key, value in options.items() if key != "config_file"}
    return resolve(flags, os.environ, options["config_file"])


def _names(options: Sequence[Callable[[Any], Any]]) -> list[str | None]:
    return [parameter.name for parameter in click.command()(_decorated(lambda: None, options)).params]


def _decorated(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
