"""What is recorded of every image: its manifest.json, and its row in the index and in the output of `--json`.

The shipped JSON Schema is made from the classes of the manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from cam_cli.results.files import to_json, write_new
from cam_cli.results.layout import MANIFEST
from cam_cli.window import Window

ENGINE_VERSION = 4
"""Raised whenever the same settings give other numbers; part of the fingerprint.

Where the numbers of one method alone change, its `revision` in `cam_cli.methods` is raised instead, so that results of other
methods stay finished.
"""

DRAWING_VERSION = 2
"""Raised whenever the same map and settings give another picture. It is no part of the fingerprint: the numbers are the same,
and no image is explained again for its colours. Every manifest has it, so that two ways of drawing can be told apart."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, source: object, **others: object) -> Self:
        """Return a record of the fields that `source` has under the same names, and of `others`."""
        same = {name: getattr(source, name) for name in cls.model_fields if hasattr(source, name)}
        return cls.model_validate(same | others, from_attributes=True)


class Failure(_Record):
    """Why an image could not be explained."""

    stage: str = Field(description="read, decode, target, fit, explain or write")
    type: str = Field(description="the exception's class")
    message: str


class ImageRecord(_Record):
    """The image file; `path` is POSIX, relative to the root, with bytes that are not UTF-8 as `\\xNN`."""

    path: str
    root: str | None = Field(
        None,
        description="the folder or URL that path is relative to; it counts where run.json has earlier roots, null: root there",
    )
    sha256: str | None = None
    width: int | None = Field(None, description="pixels, upright")
    height: int | None = Field(None, description="pixels, upright")
    notes: tuple[str, ...] = Field((), description="what was done to the image that a user should know")


class ModelRecord(_Record):
    """The network."""

    name: str
    sha256: str
    input_size: tuple[int, int] = Field(description="rows, columns")
    score: Literal["logit", "log probability"] = Field(
        "logit", description="what is differentiated: the logit, or the logarithm of the output where no logit gives it"
    )
    multi_label: bool = Field(
        False, description="every class has a probability of its own, as with sigmoids: several may be true"
    )


class TargetRecord(_Record):
    """A class."""

    index: int
    label: str
    wnid: str | None = None


class Prediction(TargetRecord):
    """One of the classes the network finds most likely."""

    probability: float
    logit: float = Field(description="the score: the logit, or the log probability where model.score says so")


class TruthRecord(TargetRecord):
    """A true class of an image, and what the network says of it."""

    rank: int | None = Field(None, description="1: no class is more likely; null where it is not known")
    probability: float | None = Field(None, description="null where it is not known")


class SelectionRecord(_Record):
    """The feature maps and neurons a map is bounded to; null stands for all."""

    filters: tuple[int, ...] | None
    region: bool
    subset: tuple[tuple[int, int], ...] | None
    top: int | None = Field(
        None, description="how many neurons of the largest values were asked for; subset lists them"
    )

    @property
    def is_whole(self) -> bool:
        """Return True if it is all feature maps and all neurons."""
        return self.filters is None and self.subset is None


FileName = Annotated[str, Field(pattern=r"^[^/]+$")]
"""Of a file beside the manifest: a manifest that was made elsewhere leads nowhere else."""


class MapFiles(_Record):
    """File names beside the manifest; null where not asked for."""

    raw: FileName | None = None
    heatmap: FileName | None = None
    overlay: FileName | None = None
    figure: FileName | None = None


class MapRecord(_Record):
    """One saliency map."""

    layer: str
    method: str
    target: TargetRecord
    against: tuple[TargetRecord, ...] = Field(
        (), description="the classes whose mean score is subtracted from the target's; none: the target's score alone"
    )
    selection: SelectionRecord
    state: Literal["ok", "blank", "nonfinite"]
    grid: tuple[int, int] = Field(description="rows, columns")
    window: Window | None = Field(
        None, description="the part of the network's input that the grid covers; null: all of it, as it is"
    )
    sizes: tuple[tuple[int, int], ...] | None = Field(
        None,
        description="rows and columns of the inputs whose maps are added up; null: the input of model.input_size alone",
    )
    power: float = Field(1.0, description="what the raw values are raised to: 2/3 for twoscale, 1 for all others")
    min: float | None
    max: float | None
    derivatives: Literal["exact", "approximate"] = Field(
        description="whether the second and third derivatives are true; approximate: the closed form under a smooth head"
    )
    head: Literal["affine", "piecewise linear", "smooth"] = Field(description="how the score depends on the layer")
    noise: str = Field(description="`n samples` of noise, or `no effect, affine head`")
    guarded_cells: int = Field(description="cells whose weight was set to 0 because alpha would have exceeded 1")
    noise_effect: float | None = Field(
        description="correlation with the map without noise; null where it cannot be told"
    )
    standard_error: float | None = Field(
        description="over the noise, root mean square over the grid as a share of the peak; null where it cannot be told"
    )
    files: MapFiles


class JointRecord(_Record):
    """One picture that colours each pixel by the class that claims it."""

    layer: str
    method: str
    selection: SelectionRecord
    targets: tuple[int, ...] = Field(description="class indices, in the order of the legend")
    file: FileName


class Manifest(_Record):
    """`manifest.json`, written last: its presence means that the image is finished."""

    schema_version: Literal[1] = 1
    drawing_version: int = Field(1, description="of the rules by which pictures are drawn; 1 where it is not said")
    status: Literal["ok", "failed"]
    error: Failure | None = None
    fingerprint: str = Field(
        description="of everything that decides the result; of all but the image when its file could not be read"
    )
    image: ImageRecord
    model: ModelRecord
    settings: dict[str, Any]
    predictions: tuple[Prediction, ...] = Field(
        (), description="the most likely first: five, or with multi_label also all others of at least 0.5"
    )
    truth: TruthRecord | None = Field(
        None, description="the true class, the first of several; null where it is not known"
    )
    also_true: tuple[TruthRecord, ...] = Field((), description="the further true classes of an image that has several")
    unknown_truth: str | None = Field(
        None, description="what the folder or the file says where it names no class of the model"
    )
    correct: bool | None = Field(
        None,
        description="the most likely class is a true one; with multi_label: the classes of at least 0.5 are exactly the "
        "true ones; null where the truth is not known",
    )
    maps: tuple[MapRecord, ...] = ()
    joint: tuple[JointRecord, ...] = ()
    timing: dict[str, float] = Field({}, description="seconds by step; of a pass shared by several images, its share")
    versions: dict[str, str]
    runtime: Literal["tensorflow", "openvino"] | None = Field(
        None, description="what ran the network, in the precision of the settings; null where nothing was explained"
    )

    def row(self) -> Row:
        """Return what a line of index.jsonl and of `--json` says."""
        full = self.model_dump(mode="json", include=set(_OF_MANIFEST))
        return cast(Row, full | {"path": self.image.path, "sha256": self.image.sha256})

    def write(self, folder: Path) -> None:
        """Write this as `folder`/manifest.json; raises OSError if it cannot be written."""
        write_new(folder / MANIFEST, f"{to_json(self.model_dump(mode='json'), indent=1)}\n".encode())


def parse_manifest(data: bytes) -> Manifest | None:
    """Return the manifest in a manifest.json; None if this version does not understand it."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError:
        return None


class FailureRow(TypedDict):
    """A `Failure` in a row."""

    stage: str
    type: str
    message: str


class TargetRow(TypedDict):
    """A `TargetRecord` in a row."""

    index: int
    label: str
    wnid: NotRequired[str | None]


class PredictionRow(TargetRow):
    """A `Prediction` in a row."""

    probability: NotRequired[float]
    logit: NotRequired[float]


class TruthRow(TargetRow):
    """A `TruthRecord` in a row."""

    rank: int | None
    probability: float | None


class MapRow(TypedDict):
    """A `MapRecord` in a row, as far as readers of rows need it."""

    layer: str
    method: str
    state: Literal["ok", "blank", "nonfinite"]
    files: dict[str, str | None]
    target: NotRequired[TargetRow]
    selection: NotRequired[dict[str, Any]]


class JointRow(TypedDict):
    """A `JointRecord` in a row, as far as readers of rows need it."""

    file: str


Stamp = int | str
"""What tells a manifest from any that was there before: a modification time in nanoseconds, or a hash of an object's tag."""


class _IndexFields(TypedDict, total=False):
    source: dict[str, int | str] | None
    manifest_mtime_ns: Stamp | None
    manifest_tag: Stamp | None


class TruthFields(TypedDict, total=False):
    """The part of a row that says what is true; see `Manifest`."""

    truth: TruthRow | None
    also_true: list[TruthRow]
    unknown_truth: str | None
    correct: bool | None


class Row(_IndexFields, TruthFields):
    """An image's row: the fields of its manifest that a table of images needs, and some that only the index has.

    truth, also_true, unknown_truth, correct: not in rows that earlier versions wrote. source: what the file system or the store
    said of the image file before it was read. manifest_mtime_ns, manifest_tag: the
    stamp of the manifest, on a disk and in an object store.
    """

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]  # pydantic's own way for a TypedDict

    path: str
    status: Literal["ok", "failed"]
    error: FailureRow | None
    fingerprint: str
    sha256: str | None
    predictions: list[PredictionRow]
    maps: list[MapRow]
    joint: list[JointRow]


_OF_MANIFEST = Row.__required_keys__ | TruthFields.__optional_keys__


class IndexRow(Row):
    """A row in index.jsonl; `finished` is ISO 8601, with a time zone."""

    finished: str


def without_index_fields(row: Row) -> Row:
    """Return a row as `--json` prints it."""
    return cast(Row, {name: value for name, value in row.items() if name in _OF_MANIFEST})


def files_of(row: Row) -> list[str]:
    """Return the names of all files that lie beside the manifest whose row this is."""
    of_maps = [name for entry in row["maps"] for name in entry["files"].values() if name]
    return of_maps + [entry["file"] for entry in row["joint"]]


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema that every manifest of this version fulfils."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Manifest.model_json_schema(mode="serialization"),
    }


if __name__ == "__main__":
    sys.stdout.write(f"{to_json(manifest_schema(), indent=1)}\n")
