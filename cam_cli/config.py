"""One frozen `RunConfig` for everything a run can be told, and where each of its values came from."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cam_cli.errors import ConfigError
from cam_cli.yaml_source import KeyedError, Tree, file_name, near, read_tree, validated

NOT_IN_FINGERPRINT = frozenset({"output", "sheet", "max_pixels", "targets_from", "weights", "unsafe_lambda"})
"""The settings that cannot change a result file of an image; every other one can. (`weights` counts by the
model's sha256, `targets_from` by the targets of each image.)"""

MOST_SAMPLES = 100_000

ENVIRONMENT_PREFIX = "SMOOTHCAM_"
CONFIG_VARIABLE = "SMOOTHCAM_CONFIG"
ONE_PER_LINE = frozenset({"layers", "targets"})
"""Lists whose names may hold commas, so that an environment variable gives them one per line."""

T = TypeVar("T")


def _unique(values: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _in_order(files: tuple[File, ...]) -> tuple[File, ...]:
    """Return the files in one order, as asking for them in another makes no difference."""
    return tuple(kind for kind in get_args(File) if kind in files)


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _words(value: object) -> list[object]:
    """Split text at commas, alone or inside a list."""
    words: list[object] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        words += [word.strip() for word in item.split(",")] if isinstance(item, str) else [item]
    return words


def _filters(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    numbers: set[int] = set()
    for part in (part.strip() for item in items for part in str(item).split(",")):
        found = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            raise ValueError(f"must be numbers and rising ranges such as 0,3,10-12, not {part!r}")
        numbers.update(range(first, last + 1))
    if not numbers:
        raise ValueError("must name at least one feature map, such as 0,3,10-12; leave it out for all")
    return tuple(sorted(numbers))


def _subset(value: object) -> tuple[tuple[int, int], ...] | str:
    if isinstance(value, str) and re.fullmatch(r"\s*top\s*:\s*[1-9][0-9]{0,4}\s*", value):
        return re.sub(r"\s", "", value)
    items = re.sub(r"\s*,\s*", ",", value).split() if isinstance(value, str) else value
    found = []
    for item in items if isinstance(items, list | tuple) else [items]:
        text = ",".join(map(str, item)) if isinstance(item, list | tuple) else str(item)
        pair = re.fullmatch(r"([0-9]{1,5})\s*,\s*([0-9]{1,5})", text)
        if not pair:
            raise ValueError(f"must be row,column pairs such as '0,10 12,12' or [[0, 10], [12, 12]], not {text!r}")
        found.append((int(pair[1]), int(pair[2])))
    if not found:
        raise ValueError("must name at least one row,column pair, such as '0,10'; leave it out for all")
    return tuple(found)


def _samples(value: object) -> object:
    if value == "auto":
        return value
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}", text) or int(text) > MOST_SAMPLES:
        raise ValueError(f"must be a whole number from 0 to {MOST_SAMPLES}, or auto, not {value!r}")
    return int(text)


def _input_size(value: object) -> object:
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    found = re.fullmatch(r"([1-9][0-9]{0,4})(?:\s*x\s*([1-9][0-9]{0,4}))?", text)
    if not found:
        raise ValueError(f"must be height x width in pixels, such as 224x224 or 224, not {text!r}")
    return int(found[1]), int(found[2] or found[1])


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError(f"must be a path, not {value!r}")
    return value


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], Field(min_length=1), BeforeValidator(_names), AfterValidator(_unique)]
Method = Literal[
    "smoothgradcam++", "gradcam++", "gradcam", "cam", "layercam", "hirescam", "twoscale", "activations",
    "gradient", "smoothgrad", "guided-backprop", "deconvnet", "lime", "integrated-gradients", "occlusion", "rise",
]  # fmt: skip
Methods = Annotated[tuple[Method, ...], Field(min_length=1), BeforeValidator(_words), AfterValidator(_unique)]
File = Literal["raw", "heatmap", "overlay", "joint"]
Files = Annotated[tuple[File, ...], Field(min_length=1), BeforeValidator(_words), AfterValidator(_in_order)]
Filters = Annotated[tuple[int, ...], BeforeValidator(_filters)]
Subset = Annotated[tuple[tuple[int, int], ...] | str, BeforeValidator(_subset)]
Samples = Annotated[int | Literal["auto"], BeforeValidator(_samples)]
InputSize = Annotated[tuple[int, int], BeforeValidator(_input_size)]
Means = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(_words)]
Deviations = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), BeforeValidator(_words)]
FilePath = Annotated[Path, BeforeValidator(_path)]


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
        False, description="true: run the Python code in a model's Lambda layers, which can do anything."
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
    region: bool = Field(False, description="true: the two neurons of subset are corners of a box, both included.")
    output: FilePath = Field(Path("smoothcam_out"), description="Folder that the run is written to.")
    write: Files = Field(("raw", "heatmap", "overlay"), description="Files to write for each map.")
    sheet: bool = Field(False, description="Also write sheet.jpg, one contact sheet of this run.")
    colormap: Literal["inferno", "viridis", "magma", "turbo", "jet"] = Field(
        "inferno", description="inferno, viridis, magma (perceptually uniform), turbo or jet (not)."
    )
    opacity: float = Field(0.6, gt=0, le=1, description="Share of the heatmap in an overlay, above 0 to 1.")
    picture_size: int = Field(1024, ge=16, le=16384, description="Long side of the heatmaps and overlays, in pixels.")
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
        ConfigError: the value that wins cannot be read, values contradict, a key or variable is unknown.
    """
    ours = {name: text for name, text in environ.items() if name.startswith(ENVIRONMENT_PREFIX) and text}
    tree = _file_tree(file, ours.pop(CONFIG_VARIABLE, None))
    origin = {key: tree.places[key,] for key in tree.data}
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
    return Resolved(config, MappingProxyType({key: origin.get(key, "default") for key in RunConfig.model_fields}))


def _file_tree(file: Path | None, variable: str | None) -> Tree:
    if file is None and variable and not Path(variable).exists():
        raise ConfigError(f"no such file {file_name(Path(variable))}; correct or unset it", CONFIG_VARIABLE)
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
    if isinstance(value, Path):
        value = str(value)
    plain = value if isinstance(value, tuple) else (value,)
    odd = any(isinstance(item, str) and not item.isprintable() for item in plain)
    listed = json.loads(json.dumps(value))
    dumped = yaml.safe_dump(
        [listed],
        default_flow_style=True,
        default_style='"' if odd else None,
        width=1 << 30,
        allow_unicode=True,
    )
    return dumped.strip()[1:-1]
