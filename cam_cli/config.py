"""Every setting of a run, written once: type, default, checks, help, flag.

A new setting is one field of `RunConfig`. Its flag, its variable, its key in YAML files, `config init`, the reference, the
shell completion and its part in the fingerprint are made from that field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cam_cli import config_values as values
from cam_cli.methods import METHODS
from cam_cli.yaml_source import KeyedError

_LATER = ("imports", "signature", "model_input", "model_output", "sizes", "against", "best")
"""Settings that version 0.1 did not have: unset, they change no fingerprint, so that its results stay finished."""

SECTIONS = ("Images", "Model", "Maps", "Output", "Run")
"""What settings are about, in the order of `--help`."""

_OWN = ", ".join(method.name for method in METHODS.values() if method.family != "peer")
_PEERS = ", ".join(method.name for method in METHODS.values() if method.family == "peer")


def _setting(default: object, text: str, metavar: str = "", **facts: Any) -> Any:
    """Return a field of `RunConfig`; `facts` are its bounds `ge`, `gt`, `le` and the further attributes of its `Setting`."""
    bounds = {name: facts.pop(name) for name in ("ge", "gt", "le") if name in facts}
    return Field(default, description=text, json_schema_extra={"metavar": metavar, **facts}, **bounds)


_images = partial(_setting, section="Images", counts=False)
_model = partial(_setting, section="Model")
_card = partial(_setting, None, section="Model", unset="the model card's")
_maps = partial(_setting, section="Maps")
_output = partial(_setting, section="Output")
_run = partial(_setting, section="Run", counts=False)


class RunConfig(BaseModel):
    """Everything a run can be told; a value may be given as its type or as the text a flag would hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: values.Text | None = _model(
        None,
        "Model to explain: a bundled name, a keras.applications name, a file or a SavedModel, e.g. vgg16-lite, a.keras.",
        "NAME|PATH",
        unset="chosen by the layer",
    )
    weights: values.FilePath | None = _model(
        None,
        "Weights of a keras.applications model, .weights.h5, .h5 or .keras.",
        "FILE",
        unset="fetched and cached by Keras",
        counts=False,
    )
    signature: values.Text | None = _model(
        None,
        "Signature of a SavedModel that goes from an image to class scores.",
        "NAME",
        unset="serving_default, or the only one",
    )
    model_input: values.Text | None = _model(
        None,
        "Tensor of a SavedModel, .pb or .tflite file that takes the image, e.g. input or sub_7:0.",
        "NAME",
        unset="the highest one that all goes through",
    )
    model_output: values.Text | None = _model(
        None,
        "Output with the class scores, where a model has several, e.g. gender; of a graph also the name of a tensor.",
        "NAME",
        unset="the only row of scores",
    )
    unsafe_lambda: bool = _model(
        False,
        "Run the code that Lambda and other layers bring along, only for files you trust; refused in a config file.",
        counts=False,
    )
    imports: values.Modules = _model(
        (), "Installed module, e.g. keras_hub, to run for the layers in it.", "MODULE", flag="import", many="lines"
    )
    layers: values.Names = _maps(
        ("auto",),
        "Layer to explain, by path or unique suffix, e.g. block5_conv3; auto: the model's own choice.",
        "LAYER",
        flag="layer",
        many="lines",
    )
    methods: values.Methods = _maps(
        ("smoothgradcam++",),
        f"One of {_OWN}; with the extra `baselines` {_PEERS}.",
        "METHOD",
        flag="method",
        many="commas",
    )
    targets: values.Names = _maps(
        ("predicted",),
        "Class to explain: index, name, WordNet id, predicted, topN, e.g. top5, truth: the true classes, or folder: the class "
        "that the image's folder is named for.",
        "CLASS",
        flag="target",
        many="lines",
        words=("predicted", "truth", "folder", "top5"),
    )
    targets_from: values.FilePath | None = _maps(
        None,
        "CSV with columns path and target: further classes for each image, relative to the root.",
        "FILE",
        counts=False,
    )
    best: bool = _maps(
        False, "Take what localises best on real images: twoscale over three input sizes, as far as the network allows."
    )
    against: values.Names | None = _maps(
        None,
        "Explain the target rather than another class: index, name, second (the next likely), similar:3 (of near scores) or "
        "truth.",
        "CLASS",
        unset="the target alone",
        many="lines",
        words=("second", "truth", "similar:3", "predicted"),
    )
    sizes: values.InputSizes | None = _maps(
        None,
        "Input sizes whose maps twoscale adds up, e.g. 224,320,448, for networks that take any size.",
        "LIST",
        unset="the input size alone",
    )
    nsamples: values.Samples = _maps(
        5, "Noisy copies of each image; 0: the clean image alone (Grad-CAM++); auto: until --tolerance.", "N"
    )
    tolerance: float = _maps(
        0.01, "Largest standard error of a map, as a share of its peak, for --nsamples auto.", "X", gt=0
    )
    std_dev: float = _maps(0.15, "Standard deviation of the noise, in units of --noise-scale.", "X", ge=0)
    noise_scale: Literal["range", "absolute"] = _maps(
        "range", "Unit of --std-dev: range is the input's max - min, absolute is the input's own unit."
    )
    seed: int = _maps(0, "Seed of the noise; same seed, same maps.", "N", ge=0, le=2**63 - 1)
    score: Literal["exp", "logit"] = _maps(
        "exp", "Weight of a noisy copy: exp is the exponential of its score, as published; logit is the same for all."
    )
    alpha_numerator: Literal["second", "first"] = _maps(
        "second", "Derivative above alpha's bar: second is Eq. 5, first is Eq. 7 as printed."
    )
    derivatives: Literal["closed", "exact"] = _maps(
        "closed",
        "Second and third derivatives: closed is powers of the gradient, exact is right under smooth activations too.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = _maps(
        "float32",
        "Precision of the network's products: float32, bfloat16, or auto: bfloat16 where a trial shows it faster and as good.",
    )
    filters: values.Filters | None = _maps(None, "Feature maps to use, from 0, e.g. 0,3,10-12.", "LIST", unset="all")
    filter_maps: Literal["combined", "each", "both"] = _maps(
        "combined", "Maps of --filters: one of all (combined), one of each filter (each), or both."
    )
    subset: values.Subset | None = _maps(
        None,
        'Neurons to use as row,column from 0, e.g. "0,10 12,12", or top:5, the largest of each map.',
        "PAIRS",
        unset="all",
    )
    region: bool = _maps(False, "Take the two neurons of --subset as corners of a box, both included.")
    output: values.PathOrUrl = _output(
        Path("smoothcam_out"),
        "Folder or URL that the run is written to, e.g. s3://bucket/out.",
        "FOLDER|URL",
        short="-o",
        counts=False,
    )
    write: values.Files = _output(
        ("raw", "heatmap", "overlay"),
        "Files for each map, e.g. raw,overlay; joint: one picture of all targets.",
        "LIST",
    )
    sheet: bool = _output(False, "Also write sheet.jpg, one contact sheet of this run.", counts=False)
    colormap: Literal["inferno", "viridis", "magma", "turbo", "jet"] = _output(
        "inferno", "Colours of the pictures: inferno, viridis, magma (perceptually uniform), turbo or jet (not)."
    )
    opacity: float = _output(0.6, "Share of the heatmap in an overlay, above 0 to 1.", "X", gt=0, le=1)
    picture_size: int = _output(640, "Long side of the heatmaps and overlays, in pixels.", "PIXELS", ge=16, le=16384)
    input_size: values.InputSize | None = _card(
        "Height x width the model takes, in pixels, e.g. 224x224 or 224.", "HxW"
    )
    fit: Literal["stretch", "crop", "letterbox"] | None = _card(
        "How an image fits the model's input: stretch, crop or letterbox."
    )
    channels: Literal["rgb", "bgr", "rgba", "grey", "bands"] | None = _card(
        "Channels of the model's input: rgb, bgr, rgba or grey; bands are the values in a TIFF file, not scaled to 0..255."
    )
    mean: values.Means | None = _card(
        "Subtracted from 0..255 values, one number or one for each channel, e.g. 123.7,116.8,103.9.", "LIST"
    )
    std: values.Deviations | None = _card(
        "Divides what --mean leaves, one number or one for each channel, e.g. 58.4,57.1,57.4.", "LIST"
    )
    labels: values.FilePath | None = _card("Class names: a CSV with a column `name`, or one name a line.", "FILE")
    root: values.PathOrUrl | None = _images(
        None,
        "Name images relative to this folder or URL.",
        "FOLDER|URL",
        unset="the one that holds all PATHs, or with a list the current one",
    )
    files_from: values.FilePaths = _images(
        (), "Also take the images and folders in this list, one a line; - is stdin.", "FILE", many="lines"
    )
    files_from0: values.FilePaths = _images(
        (), "The same as --files-from, with NUL after each path, as find -print0 writes it.", "FILE", many="lines"
    )
    ext: values.Endings | None = _images(
        None,
        "Endings of the files taken from folders.",
        "LIST",
        unset="those of all formats that are read, without npy, npz",
    )
    exclude: values.Globs = _images(
        (),
        "Glob, in quotes, of files and folders to leave out, by name or, with a slash, by path below the root.",
        "GLOB",
        many="lines",
    )
    truth: values.Truth | None = _images(
        None,
        "Where the true classes are: the image's folder names its class, or a CSV with columns path and label does, with a "
        "row for each class of an image.",
        "folder|FILE|none",
        unset="none, or folder with --target folder",
        words=("folder", "none"),
    )
    shard: values.ShardText | None = _images(
        None, "Only part I of N of the images, counted from 1, e.g. 2/8; see `summarize`.", "I/N", unset="all"
    )
    retry_failed: bool = _run(False, "Try images again that failed in an earlier run.")
    max_failures: int | None = _run(None, "Stop when more images than this have failed.", "N", unset="never", ge=0)
    fail_fast: bool = _run(False, "Stop at the first image that fails.")
    lock_wait: float = _run(
        0,
        "Seconds to wait for another run in the same output folder, before ending with exit code 11.",
        "SECONDS",
        ge=0,
    )
    progress_every: values.Seconds = _run(
        30, "Seconds between lines on how far the run is, where there is no terminal.", "SECONDS"
    )
    log_file: values.FilePath | None = _run(None, "Also add all messages, with the time, to this file.", "FILE")
    max_pixels: int = _run(200_000_000, "Refuse images with more pixels than this.", "N", ge=1)
    workers: int | None = _run(
        None, "Processes that read and decode images.", "N", unset="half the cores, up to 4", ge=1, le=256
    )
    image_timeout: values.Seconds = _run(60, "Seconds that reading and decoding one image may take.", "SECONDS")
    audit: values.Bounds | None = _run(
        None, "Bounds, e.g. max_failed=1%,max_blank=5%; exit code 5 if one is crossed.", "LIST"
    )
    device: values.Device = _run(
        "auto",
        "Where to compute: auto is gpu if TensorFlow sees one, else cpu; gpu:1 is the second GPU.",
        "auto|cpu|gpu",
        words=("auto", "cpu", "gpu"),
    )
    batch: int | None = _run(
        None, "Images in one pass of the network.", "N", unset="found out while the run goes on", ge=1, le=4096
    )
    on: values.Cluster | None = _run(
        None,
        "Explain in actors on a Ray cluster: ray starts one here, ray://HOST:PORT or ray://auto takes one there is; with the "
        "extra `ray`.",
        "ray[://ADDRESS]",
        unset="in this process",
    )
    actors: int | None = _run(
        None, "How many actors on Ray.", "N", unset="one for each GPU, or for four cores", ge=1, le=100_000
    )
    cache: bool = _run(
        True, "Keep traced graphs for the next start, in ~/.cache/smoothcam or $XDG_CACHE_HOME/smoothcam."
    )

    @model_validator(mode="after")
    def _keys_agree(self) -> RunConfig:
        if conflict := values.conflict(self):
            raise KeyedError(*conflict)
        return self

    @property
    def truth_source(self) -> Literal["folder"] | Path | None:
        """Where the true classes are; None: nobody says."""
        if self.truth is None:
            return "folder" if "folder" in self.targets else None
        return None if self.truth == "none" else self.truth

    def model_settings(self) -> dict[str, Any]:
        """Return the settings that say how the model is opened and fed, the fields of `models.load.Overrides`."""
        keys = ("input_size", "fit", "channels", "mean", "std", "labels", "weights", "unsafe_lambda", "imports")
        return {key: getattr(self, key) for key in (*keys, "signature", "model_input", "model_output")}

    def result_settings(self) -> dict[str, object]:
        """Return, ready for JSON, the settings that can change a result; those of `_LATER` only where they are set."""
        later = {key for key in _LATER if not getattr(self, key)}
        return self.model_dump(mode="json", exclude={*NOT_IN_FINGERPRINT, *later})


@dataclass(frozen=True)
class Setting:
    """What is known of a setting besides its type and its checks.

    Args:
        text: what it does, with other settings named by their flags.
        section: out of `SECTIONS`.
        words: values to offer for completion.
        unset: what the default None or () stands for.
        many: the flag is repeatable, and a variable holds one value a line (`lines`) or separates them by commas.
        counts: it can change a result, so it is in the fingerprint.
    """

    key: str
    default: object
    text: str
    section: str
    metavar: str
    words: tuple[str, ...] = ()
    flag: str = ""
    short: str = ""
    unset: str = "none"
    many: Literal["", "lines", "commas"] = ""
    counts: bool = True

    @property
    def flag_help(self) -> str:
        """The text for `--help`, with the default."""
        default = self.unset if self.default in (None, ()) else self.default
        if isinstance(default, bool):
            default = flag_name(self.key, default).removeprefix("--")
        elif isinstance(default, tuple):
            default = ",".join(default)
        return f"{self.text.removesuffix('.')}{'; repeatable' if self.many else ''}. [default: {default}]"

    @property
    def yaml_help(self) -> str:
        """The text for a YAML file, with other settings named by their keys."""
        keys = {flag_name(key): key for key in SETTINGS}
        text = re.sub(r"--[a-z][a-z0-9-]*", lambda match: keys[match[0]], self.text)
        return text if self.default is not None else f"{text.removesuffix('.')}; null: {self.unset}."


def _words(kind: object) -> tuple[str, ...]:
    """Return the words that a type names as possible."""
    parts = get_args(kind)
    return parts if get_origin(kind) is Literal else tuple(word for part in parts for word in _words(part))


def _of_field(key: str) -> Setting:
    field = RunConfig.model_fields[key]
    facts: Any = field.json_schema_extra
    words = _words(field.annotation)
    known = {"words": words, **facts, "metavar": facts["metavar"] or "|".join(words)}
    return Setting(key, field.default, field.description or "", **known)


SETTINGS: Mapping[str, Setting] = MappingProxyType({key: _of_field(key) for key in RunConfig.model_fields})
NOT_IN_FINGERPRINT = frozenset(key for key, setting in SETTINGS.items() if not setting.counts)
"""The settings that cannot change a result file of an image; every other one can. (`weights` counts by the
model's sha256, `targets_from` by the targets of each image.)"""


def flag_name(key: str, value: object = None) -> str:
    """Return the flag that sets `key`: the singular for a repeated one, and `--no-...` for False."""
    return ("--no-" if value is False else "--") + (SETTINGS[key].flag or key.replace("_", "-"))
