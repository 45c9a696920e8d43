"""One frozen `RunConfig` for everything a run can be told, and where each of its values came from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cam_cli.config_values import (
    Bounds,
    Cluster,
    Deviations,
    Device,
    Endings,
    FilePath,
    Files,
    Filters,
    Globs,
    InputSize,
    Means,
    Methods,
    Names,
    Paths,
    Place,
    Samples,
    Seconds,
    ShardText,
    Subset,
    Text,
)
from cam_cli.errors import ConfigError
from cam_cli.text import shown_if_odd
from cam_cli.yaml_source import KeyedError, Tree, near, read_tree, validated

NOT_IN_FINGERPRINT = frozenset(
    {
        "output", "sheet", "max_pixels", "targets_from", "weights", "unsafe_lambda",
        "root", "files_from", "files_from0", "ext", "exclude", "shard", "retry_failed", "max_failures", "fail_fast",
        "lock_wait", "progress_every", "log_file", "workers", "image_timeout", "device", "batch", "cache", "audit",
        "on", "actors",
    }
)  # fmt: skip
"""The settings that cannot change a result file of an image; every other one can. (`weights` counts by the
model's sha256, `targets_from` by the targets of each image.)"""

ENVIRONMENT_PREFIX = "SMOOTHCAM_"
CONFIG_VARIABLE = "SMOOTHCAM_CONFIG"
ONE_PER_LINE = frozenset({"layers", "targets", "exclude", "files_from", "files_from0"})
"""Lists whose names may hold commas, so that an environment variable gives them one per line."""


class RunConfig(BaseModel):
    """Everything a run can be told; a value may be given as its type or as the text a flag would hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: Text | None = Field(
        None, description="Bundled name, keras.applications name or path; null: chosen by the layer."
    )
    weights: FilePath | None = Field(
        None, description="Weights file of a keras.applications model; null: fetched and cached by Keras."
    )
    unsafe_lambda: bool = Field(
        False, description="true: run code that the model brings along; taken from a flag or a variable, never a file."
    )
    layers: Names = Field(
        ("auto",), description="Layers to explain, by path or unique suffix; auto: the model's own choice."
    )
    methods: Methods = Field(("smoothgradcam++",), description="Methods, see `smoothcam explain --help`.")
    targets: Names = Field(
        ("predicted",),
        description="Classes: index, name, WordNet id, predicted, topN (top5), or folder: what its folder is named for.",
    )
    targets_from: FilePath | None = Field(
        None, description="CSV with columns path and target: further classes for each image, relative to the root."
    )
    nsamples: Samples = Field(
        5,
        description="Noisy copies of each image; 0: the clean image alone (Grad-CAM++); auto: until the tolerance is met.",
    )
    tolerance: float = Field(
        0.01, gt=0, description="Largest standard error of a map, as a share of its peak, for nsamples: auto."
    )
    std_dev: float = Field(0.15, ge=0, description="Standard deviation of the noise, in units of noise_scale.")
    noise_scale: Literal["range", "absolute"] = Field(
        "range", description="range: std_dev is a share of the input's max - min; absolute: in input units."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of the noise; the same seed gives the same maps.")
    score: Literal["exp", "logit"] = Field(
        "exp", description="Weight of a noisy copy: exp of its score, as published, or logit: all the same."
    )
    alpha_numerator: Literal["second", "first"] = Field(
        "second", description="Derivative above alpha's bar: second (Eq. 5) or first (Eq. 7 as printed)."
    )
    derivatives: Literal["closed", "exact"] = Field(
        "closed",
        description="closed: powers of the gradient, exact under ReLU; exact: true derivatives under a smooth activation.",
    )
    filters: Filters | None = Field(
        None, description="Feature maps to use, from 0, such as 0,3,10-12; null: all of them."
    )
    filter_maps: Literal["combined", "each", "both"] = Field(
        "combined", description="One map of all filters, each filter's own (needs filters), or both."
    )
    subset: Subset | None = Field(
        None,
        description="Neurons to use as row,column from 0: '0,10 12,12'; top:5: the five largest of each map; null: all.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32",
        description="Of the network's products: float32, bfloat16, or auto: what a trial shows faster and as good.",
    )
    region: bool = Field(False, description="true: the two neurons of subset are corners of a box, both included.")
    output: Place = Field(Path("smoothcam_out"), description="Folder or URL that the run is written to.")
    write: Files = Field(("raw", "heatmap", "overlay"), description="Files to write for each map.")
    sheet: bool = Field(False, description="Also write sheet.jpg, one contact sheet of this run.")
    colormap: Literal["inferno", "viridis", "magma", "turbo", "jet"] = Field(
        "inferno", description="inferno, viridis, magma (perceptually uniform), turbo or jet (not)."
    )
    opacity: float = Field(0.6, gt=0, le=1, description="Share of the heatmap in an overlay, above 0 to 1.")
    picture_size: int = Field(640, ge=16, le=16384, description="Long side of the heatmaps and overlays, in pixels.")
    max_pixels: int = Field(200_000_000, ge=1, description="Images with more pixels than this are refused, unread.")
    input_size: InputSize | None = Field(
        None, description="Height x width the model takes, in pixels: 224x224 or 224; null: as its card says."
    )
    fit: Literal["stretch", "crop", "letterbox"] | None = Field(
        None, description="How an image fits the input: stretch, crop, letterbox; null: as the card says."
    )
    channels: Literal["rgb", "bgr", "rgba", "grey"] | None = Field(
        None, description="Channel order of the input: rgb, bgr, rgba, grey; null: as the card says."
    )
    mean: Means | None = Field(
        None, description="Subtracted from 0..255 values, one or one per channel; null: as the card says."
    )
    std: Deviations | None = Field(
        None, description="Divides what is left, one or one per channel; null: as the card says."
    )
    labels: FilePath | None = Field(None, description="File of class names; null: as the card says.")

    root: Place | None = Field(
        None,
        description="Folder or URL that images are named relative to; null: what holds all, with a list where you are.",
    )
    files_from: Paths = Field((), description="Lists of images or folders, one path a line; `-` is stdin.")
    files_from0: Paths = Field(
        (), description="Lists whose paths end with NUL, as `find -print0` writes them; `-` is stdin."
    )
    ext: Endings | None = Field(
        None, description="Endings of the files taken from folders; null: jpg, jpeg, png, webp, gif, bmp, tif, tiff."
    )
    exclude: Globs = Field(
        (),
        description="Globs, in quotes, of files and folders left out, by name or, with a slash, path below the root.",
    )
    shard: ShardText | None = Field(
        None, description="Part I of N of the images, such as 2/8, counted from 1; null: all of them."
    )
    retry_failed: bool = Field(False, description="true: try images again that failed in an earlier run.")
    max_failures: int | None = Field(
        None, ge=0, description="Stop when more images than this have failed; null: go on."
    )
    fail_fast: bool = Field(False, description="true: stop at the first image that fails, as max_failures: 0 does.")
    lock_wait: float = Field(0, ge=0, description="Seconds to wait for another run in the same output folder.")
    progress_every: Seconds = Field(
        30, description="Seconds between lines on how far the run is, where there is no terminal."
    )
    log_file: FilePath | None = Field(None, description="File that all that is said is added to, with the time.")
    workers: int | None = Field(
        None, ge=1, le=256, description="Processes that read and decode images; null: half the cores, up to 4."
    )
    image_timeout: Seconds = Field(60, description="Seconds that reading and decoding one image may take.")
    device: Device = Field("auto", description="auto: a GPU if TensorFlow sees one; cpu; gpu; gpu:1 for the second.")
    batch: int | None = Field(
        None, ge=1, le=4096, description="Images in one pass of the network; null: found out while the run goes on."
    )
    cache: bool = Field(
        True,
        description="true: keep traced graphs for the next start, in ~/.cache/smoothcam.",
    )

    on: Cluster | None = Field(
        None,
        description="ray: a Ray cluster started here; ray://HOST:PORT or ray://auto: one there is; null: no Ray.",
    )
    actors: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Actors on Ray; null: one for each GPU or, where there is none, for four cores.",
    )

    audit: Bounds | None = Field(
        None, description="Bounds such as max_failed: 1%; where one is crossed the exit code is 5; null: none."
    )

    @model_validator(mode="after")
    def _keys_agree(self) -> RunConfig:
        if self.filter_maps == "each" and self.filters is None:
            raise KeyedError("filter_maps", "'each' needs filters; name some, such as 0,3,10-12")
        if self.region and self.subset is None:
            raise KeyedError("region", "needs subset, two corners such as '0,10 12,12'")
        if self.region and isinstance(self.subset, str):
            raise KeyedError("region", f"does not go with subset {self.subset}; give two corners such as '0,10 12,12'")
        if self.region and self.subset is not None and len(self.subset) != 2:
            count = len(self.subset)
            raise KeyedError("subset", f"must be exactly two corners, as region is set, not {count} pairs")
        if self.fail_fast and self.max_failures:
            raise KeyedError("fail_fast", f"contradicts max_failures {self.max_failures}; leave one of them out")
        if self.on and not isinstance(self.output, Path):
            raise KeyedError(
                "output",
                f"{self.output} is no folder, and actors on Ray write to one that all machines share; take shards",
            )
        if self.on and self.device.startswith("gpu:"):
            raise KeyedError(
                "device", f"{self.device} does not go with Ray, which gives each actor a GPU of its own; take gpu"
            )
        if [*self.files_from, *self.files_from0].count(Path("-")) > 1:
            key = "files_from0" if Path("-") in self.files_from0 else "files_from"
            raise KeyedError(key, "reads stdin a second time, which can be read once only; leave all but one `-` out")
        return self

    def model_settings(self) -> dict[str, Any]:
        """Return the settings that say how the model is opened and fed, the fields of `models.load.Overrides`."""
        keys = ("input_size", "fit", "channels", "mean", "std", "labels", "weights", "unsafe_lambda")
        return {key: getattr(self, key) for key in keys}

    def result_settings(self) -> dict[str, object]:
        """Return, ready for JSON, the settings that can change a result: all but `NOT_IN_FINGERPRINT`."""
        return self.model_dump(mode="json", exclude=set(NOT_IN_FINGERPRINT))


@dataclass(frozen=True)
class Resolved:
    """A config and, for each of its keys, where the value came from.

    An origin reads `flag --std-dev`, `environment SMOOTHCAM_STD_DEV`, `configs/paper.yaml:4:10` or `default`.
    """

    config: RunConfig
    origin: Mapping[str, str]


def resolve(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Resolved:
    """Return the settings of a run: flag before environment before YAML before default.

    Args:
        flags: values by key of `RunConfig`; None and () mean that the flag was not given.
        environ: `SMOOTHCAM_<KEY>` holds the text of one value, an empty one counts as unset. Lists are
            comma-separated, but `layers` and `targets` one per line. `SMOOTHCAM_CONFIG` names a YAML file.
        file: the YAML file; None: what `SMOOTHCAM_CONFIG` names, if anything.

    Raises:
        ConfigError: the value that wins cannot be read, values contradict, a key or variable is unknown, a file allows code.
    """
    ours = {name: text for name, text in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and text}
    tree = _file_tree(file, ours.pop(CONFIG_VARIABLE, None))
    origin = {key: tree.places[key,] for key in tree.data}
    in_file = dict(origin)
    variables = {ENVIRONMENT_PREFIX + key.upper(): key for key in RunConfig.model_fields}
    for name, text in ours.items():
        if name not in variables:
            hint = near(name, [*variables, CONFIG_VARIABLE]) or "; `smoothcam config init` lists the settings"
            raise ConfigError(f"unknown setting in the environment{hint}", name)
        key = variables[name]
        lines = [line for line in text.splitlines() if line.strip()]
        tree = tree.with_value(key, lines if key in ONE_PER_LINE else text, name)
        origin[key] = f"environment {name}"
    for key, value in flags.items():
        if value is not None and value != ():
            flag = flag_name(key, value)
            tree = tree.with_value(key, value, flag)
            origin[key] = f"flag {flag}"
    config = validated(tree, RunConfig)
    if config.unsafe_lambda and origin["unsafe_lambda"] == in_file.get("unsafe_lambda"):
        raise ConfigError(
            "unsafe_lambda is not taken from a file, which may come from whoever made the model; if you trust the model, say "
            "--unsafe-lambda",
            origin["unsafe_lambda"],
        )
    return Resolved(config, MappingProxyType({key: origin.get(key, "default") for key in RunConfig.model_fields}))


def _file_tree(file: Path | None, variable: str | None) -> Tree:
    if file is None and variable and not Path(variable).exists():
        raise ConfigError(f"no such file {shown_if_odd(Path(variable))}; correct or unset it", CONFIG_VARIABLE)
    path = file or (Path(variable) if variable else None)
    return read_tree(path) if path else Tree()


def flag_name(key: str, value: object = None) -> str:
    """Return the flag that sets `key`: the singular for a repeated one, and `--no-...` for False."""
    singular = {"layers": "layer", "methods": "method", "targets": "target"}.get(key, key)
    return ("--no-" if value is False else "--") + singular.replace("_", "-")


def starter_yaml() -> str:
    """Return a YAML file of every key at its default, each under its description."""
    lines = [
        "# Settings of a smoothcam run, each at its default; delete what you do not change.",
        "# Use: smoothcam explain IMAGES --config FILE",
    ]
    defaults = RunConfig()
    for key, info in RunConfig.model_fields.items():
        lines += ["", *textwrap.wrap(info.description or "", 98, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"{key}: {_yaml_value(getattr(defaults, key))}")
    return "\n".join(lines) + "\n"


def shown_yaml(resolved: Resolved) -> str:
    """Return the settings as YAML lines `key: value  # origin`, the origins aligned."""
    pairs = {key: f"{key}: {_yaml_value(getattr(resolved.config, key))}" for key in resolved.origin}
    width = max((len(line) for line in pairs.values() if len(line) <= 48), default=0)
    return "".join(f"{line:<{width}}  # {resolved.origin[key]}\n" for key, line in pairs.items())


def shown_json(resolved: Resolved) -> str:
    """Return the settings as one JSON object, `{key: {"value": ..., "origin": ...}}`."""
    values = resolved.config.model_dump(mode="json")
    return json.dumps({key: {"value": values[key], "origin": resolved.origin[key]} for key in values}) + "\n"


def _yaml_value(value: object) -> str:
    """Return a value as YAML text on one line."""
    plain = value if isinstance(value, tuple) else (value,)
    odd = any(isinstance(item, str | Path) and not str(item).isprintable() for item in plain)
    listed = json.loads(json.dumps(value, default=str))
    dumped = yaml.safe_dump(
        [listed],
        default_flow_style=True,
        default_style='"' if odd else None,
        width=1 << 30,
        allow_unicode=not odd,
    )
    return dumped.strip()[1:-1]
