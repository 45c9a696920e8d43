"""The values of a run's settings: what a person may write for each, in YAML, a variable or a flag, and what it becomes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from cam_cli.methods import METHODS
from cam_cli.storage.location import Location, location
from cam_cli.text import near

MOST_SAMPLES = 100_000
MOST_SHARDS = 100_000
MOST_IMAGES = 1_000_000
MOST_SECONDS = 1_000_000
"""Twelve days: more than anybody means, and less than any timer of the system holds."""

T = TypeVar("T")


def _unique(values: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))


def _in_order(files: tuple[File, ...]) -> tuple[File, ...]:
    """Return the files in one order, as asking for them in another makes no difference."""
    return tuple(kind for kind in get_args(File) if kind in files)


def _split(value: object, separator: str = ",") -> list[object]:
    """Return the items of a list: a text, and each text of a flag that was repeated, is split; a list's own items are not.

    So a name with a comma can be an item of a list in YAML, or one line of several in a variable.
    """
    if isinstance(value, list):
        return value
    items: list[object] = []
    for item in value if isinstance(value, tuple) else (value,):
        parts = re.split(separator, item) if isinstance(item, str) else [item]
        items += [part.strip() for part in parts] if len(parts) > 1 else [item]
    return items


def _targets(value: object) -> list[object]:
    """Split at commas what is surely no name; `Labels.resolve`, which knows the names, splits the others.

    `none` alone is no class.
    """
    targets: list[object] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        words = _split(item)
        targets += words if any(_NO_NAME.fullmatch(str(word)) for word in words) else [item]
    return [] if targets == [NO_TARGETS] else targets


_NO_NAME = re.compile(r"predicted|folder|truth|top\d+|\d+|n\d{8}")
"""What a user may write for classes that is never part of a class's name."""


def _paths(value: object) -> list[object]:
    """Split a list of files at commas, unless it is the name of one file."""
    if isinstance(value, list):
        return value
    items = value if isinstance(value, tuple) else (value,)
    return [path for item in items for path in ([item] if _is_one_file(item) else _split(item))]


def _is_one_file(value: object) -> bool:
    return not isinstance(value, str) or "\0" in value or Path(value).exists()


def _patterns(value: object) -> list[object]:
    """Split globs at commas outside brackets: `[,]` matches a comma."""
    return _split(value, r",(?![^\[\]]*\])")


def _words(value: object) -> list[object]:
    """Split text at commas, alone or inside a list."""
    words: list[object] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        words += [word.strip() for word in item.split(",")] if isinstance(item, str) else [item]
    return words


def _filters(value: object) -> tuple[int, ...]:
    numbers: set[int] = set()
    for part in map(str, _words(value)):
        match = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ValueError(f"must be numbers and rising ranges such as 0,3,10-12, not {part!r}")
        numbers.update(range(first, last + 1))
    if not numbers:
        raise ValueError("must name at least one feature map, such as 0,3,10-12; leave it out for all")
    return tuple(sorted(numbers))


def _subset(value: object) -> tuple[tuple[int, int], ...] | str:
    if isinstance(value, str) and re.fullmatch(r"\s*top\s*:\s*[1-9][0-9]{0,4}\s*", value):
        return re.sub(r"\s", "", value)
    if isinstance(value, list | tuple) and len(value) == 1 and str(value[0]).lstrip().startswith("top"):
        return _subset(str(value[0]))
    items: list[object] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        items += re.sub(r"\s*,\s*", ",", item).split() if isinstance(item, str) else [item]
    pairs = []
    for item in items:
        text = ",".join(map(str, item)) if isinstance(item, list | tuple) else str(item)
        match = re.fullmatch(r"([0-9]{1,5})\s*,\s*([0-9]{1,5})", text)
        if not match:
            raise ValueError(f"must be row,column pairs such as '0,10 12,12' or [[0, 10], [12, 12]], not {text!r}")
        pairs.append((int(match[1]), int(match[2])))
    if not pairs:
        raise ValueError("must name at least one row,column pair, such as '0,10'; leave it out for all")
    return tuple(pairs)


def _samples(value: object) -> object:
    if value == "auto":
        return value
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,6}", text) or int(text) > MOST_SAMPLES:
        raise ValueError(f"must be a whole number from 0 to {MOST_SAMPLES}, or auto, not {value!r}")
    return int(text)


def _input_size(value: object) -> object:
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    match = re.fullmatch(r"([1-9][0-9]{0,4})(?:\s*x\s*([1-9][0-9]{0,4}))?", text)
    if not match:
        raise ValueError(f"must be height x width in pixels, such as 224x224 or 224, not {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError(f"must be a path, not {value!r}")
    return value


def _path_or_url(value: object) -> object:
    checked = _path(value)
    return location(checked) if isinstance(checked, str | os.PathLike) else checked


def _endings(value: object) -> list[str]:
    endings = [str(word).lower().lstrip(".") for word in _words(value)]
    for ending in endings:
        if not re.fullmatch(r"[^\s./*?\[\]]+", ending):
            raise ValueError(f"must be endings of file names, such as jpg,png, not {ending!r}")
    return endings


def _glob(value: object) -> object:
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise ValueError(f"must be UTF-8 text, not {value!r}; write * for the bytes that are not")
    return value


def _shard(value: object) -> str:
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", str(value))
    index, count = (int(match[1]), int(match[2])) if match else (1, 0)
    if index == 0 < count <= MOST_SHARDS:
        raise ValueError(
            f"counts from 1: 1/{count} to {count}/{count}; for a Slurm array that counts from 0, take --array=1-{count} or "
            f"--shard $((SLURM_ARRAY_TASK_ID + 1))/{count}"
        )
    if not 1 <= index <= count <= MOST_SHARDS:
        raise ValueError(f"must be I/N, such as 2/8, with I from 1 to N and N up to {MOST_SHARDS}, not {value!r}")
    return f"{index}/{count}"


def _bounds(value: object) -> dict[str, float]:
    from cam_cli.metrics.table import BOUNDED

    if isinstance(value, str | tuple):
        pairs = [re.split(r"\s*[=:]\s*", word, maxsplit=1) for word in map(str, _words(value)) if word]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"must be bounds such as max_failed=1%,min_map_correlation=0.7, not {value!r}")
        value = dict(pairs)
    if not isinstance(value, dict):
        raise ValueError("must be a mapping of bounds such as max_failed: 1%")
    known = [f"{side}_{name}" for name in BOUNDED for side in ("max", "min")]
    bounds = {}
    for rule, bound in value.items():
        if rule not in known:
            hint = near(str(rule), known) or f"; it bounds, by max_ and min_, {', '.join(BOUNDED)}"
            raise ValueError(f"has the unknown bound {rule!r}{hint}")
        number = re.fullmatch(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(%?)", str(bound).strip())
        if not number:
            raise ValueError(f"must bound {rule} by a number or a percentage such as 2%, not {bound!r}")
        bounds[rule] = float(number[1]) / (100 if number[2] else 1)
    return bounds


def _module(value: object) -> object:
    if isinstance(value, str) and not all(part.isidentifier() for part in value.split(".")):
        raise ValueError(f"must be modules such as keras_hub or mypackage.layers, not {value!r}")
    return value


def _matching(pattern: str, wanted: str) -> BeforeValidator:
    def check(value: object) -> str:
        match = re.fullmatch(pattern, str(value).strip())
        if not match:
            raise ValueError(f"must be {wanted}, not {value!r}")
        return match[0]

    return BeforeValidator(check)


Text = Annotated[str, Field(min_length=1)]
NO_TARGETS = "none"
Names = Annotated[tuple[Text, ...], Field(min_length=1), BeforeValidator(_split), AfterValidator(_unique)]
TargetNames = Annotated[tuple[Text, ...], BeforeValidator(_targets), AfterValidator(_unique)]
Modules = Annotated[
    tuple[Annotated[Text, BeforeValidator(_module)], ...], BeforeValidator(_split), AfterValidator(_unique)
]
if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(METHODS)]
Methods = Annotated[tuple[Method, ...], Field(min_length=1), BeforeValidator(_words), AfterValidator(_unique)]
File = Literal["raw", "heatmap", "overlay", "joint", "figure"]
Files = Annotated[tuple[File, ...], Field(min_length=1), BeforeValidator(_words), AfterValidator(_in_order)]
Filters = Annotated[tuple[int, ...], BeforeValidator(_filters)]
Subset = Annotated[tuple[tuple[int, int], ...] | str, BeforeValidator(_subset)]
Samples = Annotated[int | Literal["auto"], BeforeValidator(_samples)]
InputSize = Annotated[tuple[int, int], BeforeValidator(_input_size)]
InputSizes = Annotated[tuple[InputSize, ...], Field(min_length=1), BeforeValidator(_words), AfterValidator(_unique)]
Means = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(_words)]
Deviations = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), BeforeValidator(_words)]
FilePath = Annotated[Path, BeforeValidator(_path)]
PathOrUrl = Annotated[Location, BeforeValidator(_path_or_url), PlainSerializer(str, return_type=str, when_used="json")]
Truth = Literal["folder", "none"] | FilePath
FilePaths = Annotated[tuple[FilePath, ...], BeforeValidator(_paths)]
Globs = Annotated[
    tuple[Annotated[Text, BeforeValidator(_glob)], ...], BeforeValidator(_patterns), AfterValidator(_unique)
]
Endings = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_endings), AfterValidator(_unique)]
Bounds = Annotated[dict[str, float], BeforeValidator(_bounds)]
Device = Annotated[
    str, _matching(r"(?i:auto|cpu|gpu(:[0-9]{1,3})?)", "auto, cpu, gpu or gpu:1"), AfterValidator(str.lower)
]
_HOST = r"([^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\])"
Cluster = Annotated[str, _matching(rf"ray(://(auto|{_HOST}(:[0-9]{{1,5}})?))?", "ray, ray://auto or ray://HOST:PORT")]
ShardText = Annotated[str, BeforeValidator(_shard)]
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]


def conflict(config: Any) -> tuple[str, str] | None:
    """Return the key of a setting of a `RunConfig` that contradicts another, and why; None: they all agree."""
    if config.filter_maps == "each" and config.filters is None:
        return "filter_maps", "'each' needs filters; name some, such as 0,3,10-12"
    if config.best and (config.sizes or config.methods != type(config).model_fields["methods"].default):
        return "best", "takes the method and its sizes itself; leave method and sizes out"
    if config.sizes and not any(METHODS[name].family == "two layers" for name in config.methods):
        return (
            "sizes",
            "goes with method twoscale, which adds up maps of several input sizes; for one size take input_size",
        )
    if config.region and config.subset is None:
        return "region", "needs subset, two corners such as '0,10 12,12'"
    if config.region and isinstance(config.subset, str):
        return "region", f"does not go with subset {config.subset}; give two corners such as '0,10 12,12'"
    if config.region and config.subset and (count := len(config.subset)) != 2:
        return "subset", f"must be exactly two corners, as region is set, not {count} pairs"
    if "truth" in config.targets and config.truth_source is None:
        return "targets", "'truth' needs truth, such as --truth folder"
    if not config.targets and config.targets_from is None:
        return "targets", "'none' needs targets_from, a file with the classes of each image"
    if config.limit is not None and config.sample is not None:
        return "sample", f"contradicts limit {config.limit}; leave one of them out"
    if "truth" in (config.against or ()) and config.truth_source is None:
        return "against", "'truth' needs truth, such as --truth folder"
    if config.fail_fast and config.max_failures:
        return "fail_fast", f"contradicts max_failures {config.max_failures}; leave one of them out"
    if config.on and not isinstance(config.output, Path):
        why = "is no folder, and actors on Ray write to one that all machines share; take shards"
        return "output", f"{config.output} {why}"
    if config.on and config.device.startswith("gpu:"):
        why = "does not go with Ray, which gives each actor a GPU of its own; take gpu"
        return "device", f"{config.device} {why}"
    if [*config.files_from, *config.files_from0].count(Path("-")) > 1:
        key = "files_from0" if Path("-") in config.files_from0 else "files_from"
        return key, "reads stdin a second time, which can be read once only; leave all but one `-` out"
    return None
