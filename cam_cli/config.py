"""Every setting of a run, written once: type, default, checks, help, flag.

A new setting is one field of `RunConfig`. Its flag, its variable, its key in YAML files, `config init`, the reference, the
shell completion and its part in the fingerprint are made from that field.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from cam_cli import config_values as values
from cam_cli.methods import METHODS
from cam_cli.setting import Setting, setting
from cam_cli.yaml_source import KeyedError

_LATER: Mapping[str, object] = {
    "imports": (),
    "signature": None,
    "model_input": None,
    "model_output": None,
    "sizes": None,
    "against": None,
    "best": False,
    "picture_format": "png",
    "contours": False,
}
"""What version 0.1 did without these settings: with these values they change no fingerprint, so that its results stay
finished."""

_OF_FILES = {
    "picture_format": ("overlay", "joint"),
    "contours": ("overlay", "figure"),
    "figure_format": ("figure",),
}
"""Settings that change nothing unless one of these files is written."""

SECTIONS = ("Images", "Model", "Maps", "Output", "Run")
"""What settings are about, in the order of `--help`."""

_OWN = ", ".join(method.name for method in METHODS.values() if method.family != "peer")
_PEERS = ", ".join(method.name for method in METHODS.values() if method.family == "peer")


_images = partial(setting, section="Images", counts=False)
_model = partial(setting, section="Model")
_card = partial(setting, None, section="Model", unset="the model card's")
_maps = partial(setting, section="Maps")
_output = partial(setting, section="Output")
_run = partial(setting, section="Run", counts=False)


class RunConfig(BaseModel):
    """Everything a run can be told; a value may be given as its type or as the text a flag would hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: values.Text | None = _model(
        None,
        "Model to explain: a bundled name, a keras.applications name, a file or a SavedModel, e.g. vgg16-lite, a.keras.",
        "NAME|PATH",
        unset="chosen by the layer",
        common=True,
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
        common=True,
    )
    methods: values.Methods = _maps(
        ("smoothgradcam++",),
        f"One of {_OWN}; with the extra `baselines` {_PEERS}.",
        "METHOD",
        flag="method",
        many="commas",
        common=True,
    )
    targets: values.TargetNames = _maps(
        ("predicted",),
        "Class to explain: index, name, WordNet id, predicted, e.g. top5, truth, folder (which names it), or none: only "
        "--targets-from.",
        "CLASS",
        flag="target",
        many="lines",
        common=True,
        words=("predicted", "truth", "folder", "top5", "none"),
    )
    targets_from: values.FilePath | None = _maps(
        None,
        "CSV with columns path and target: further classes for each image, relative to the root.",
        "FILE",
        counts=False,
    )
    best: bool = _maps(
        False,
        "Take what localises best on real images, not --method and --sizes: twoscale over three sizes, if the network allows.",
    )
    against: values.Names | None = _maps(
        None,
        "Class to explain the target against: index, name, WordNet id, predicted, truth, second, or similar:N: the N nearest.",
        "CLASS",
        unset="the target alone",
        many="lines",
        words=("second", "truth", "similar:3", "predicted"),
    )
    sizes: values.InputSizes | None = _maps(
        None,
        "Input sizes whose maps twoscale adds up, e.g. 224,320,448; the class is decided at the model's own.",
        "LIST",
        many="commas",
        unset="the input size alone",
    )
    nsamples: values.Samples = _maps(
        5,
        "Noisy copies of each image; 0: the clean image alone (Grad-CAM++); auto: until --tolerance.",
        "N",
        common=True,
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
    filters: values.Filters | None = _maps(
        None, "Feature maps to use, from 0, e.g. 0,3,10-12.", "LIST", unset="all", many="commas", common=True
    )
    filter_maps: Literal["combined", "each", "both"] = _maps(
        "combined", "Maps of --filters: one of all (combined), one of each filter (each), or both."
    )
    subset: values.Subset | None = _maps(
        None,
        'Neurons to use as row,column from 0, e.g. "0,10 12,12", or top:5, the largest of each map.',
        "PAIRS",
        unset="all",
        many="commas",
        common=True,
    )
    region: bool = _maps(False, "Take the two neurons of --subset as corners of a box, both included.")
    output: values.PathOrUrl = _output(
        Path("smoothcam_out"),
        "Folder or URL that the run is written to, e.g. s3://bucket/out.",
        "FOLDER|URL",
        short="-o",
        counts=False,
        common=True,
    )
    write: values.Files = _output(
        ("raw", "heatmap", "overlay"),
        "Files for each map, e.g. raw,overlay; joint: all targets in one; figure: for a paper, with the extra `figures`.",
        "LIST",
        many="commas",
        common=True,
    )
    picture_format: Literal["jpeg", "png"] = _output(
        "jpeg",
        "Format of overlays and joint pictures: jpeg, or png, which loses nothing and is some seven times as large.",
    )
    figure_format: Literal["png", "svg", "pdf"] = _output("png", "Format of figures: png of 300 dpi, svg or pdf.")
    contours: bool = _output(False, "Draw lines on overlays and figures where the heat is 50% and 80% of its scale.")
    sheet: bool = _output(False, "Also write sheet.jpg, one contact sheet of this run.", counts=False, common=True)
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
        "Subtracted from 0..255 values, one number or one for each channel, e.g. 123.7,116.8,103.9.",
        "LIST",
        many="commas",
    )
    std: values.Deviations | None = _card(
        "Divides what --mean leaves, one number or one for each channel, e.g. 58.4,57.1,57.4.", "LIST", many="commas"
    )
    labels: values.FilePath | None = _card(
        "Class names: a CSV with a column `name`, or one name a line.", "FILE", common=True
    )
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
        many="commas",
    )
    exclude: values.Globs = _images(
        (),
        "Glob, in quotes, of files and folders to leave out, by name or, with a slash, by path below the root.",
        "GLOB",
        many="lines",
    )
    truth: values.Truth | None = _images(
        None,
        "True classes: folder: the image's folder names its class; FILE: a CSV with columns path and label; none: nobody says.",
        "folder|FILE|none",
        unset="none, or folder where that is a target",
        words=("folder", "none"),
        common=True,
    )
    limit: int | None = _images(
        None, "Only the first N images that are found.", "N", unset="all", ge=1, le=values.MOST_IMAGES, common=True
    )
    sample: int | None = _images(
        None,
        "Only N images, chosen by chance from all that are found: the same ones for the same files and --seed.",
        "N",
        unset="all",
        ge=1,
        le=values.MOST_IMAGES,
        common=True,
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
        None, "Bounds, e.g. max_failed=1%,max_blank=5%; exit code 5 if one is crossed.", "LIST", many="commas"
    )
    device: values.Device = _run(
        "auto",
        "Where to compute: auto is gpu if TensorFlow sees one, else cpu; gpu:1 is the second GPU.",
        "auto|cpu|gpu",
        words=("auto", "cpu", "gpu"),
    )
    runtime: Literal["auto", "tensorflow", "openvino"] = _run(
        "auto",
        "What runs the network: tensorflow, openvino (an extra), or auto: openvino where a trial shows the same maps, not "
        "slower.",
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
        """Return, ready for JSON, the settings that can change a result."""
        later = {key for key, before in _LATER.items() if getattr(self, key) == before}
        idle = {key for key, files in _OF_FILES.items() if not {*files} & {*self.write}}
        return self.model_dump(mode="json", exclude={*NOT_IN_FINGERPRINT, *later, *idle})


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {key: Setting.of_field(key, field) for key, field in RunConfig.model_fields.items()}
)
NOT_IN_FINGERPRINT = frozenset(key for key, known in SETTINGS.items() if not known.counts)
"""The settings that cannot change a result file of an image; every other one can. (`weights` counts by the
model's sha256, `targets_from` by the targets of each image.)"""


def flag_name(key: str, value: object = None) -> str:
    """Return the flag that sets `key`: the singular for a repeated one, and `--no-...` for False."""
    return ("--no-" if value is False else "--") + (SETTINGS[key].flag or key.replace("_", "-"))
