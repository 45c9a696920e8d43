"""What is recorded of every image; the shipped JSON Schema is made from these classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cam_cli.results.files import read_regular, to_json, write_new

MANIFEST = "manifest.json"
SCHEMA_VERSION: Final = 1
ENGINE_VERSION = 3
"""Raised whenever the same settings give other numbers; part of the fingerprint."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Record):
    """Why an image could not be explained."""

    stage: str = Field(description="read, decode, target, fit, explain or write")
    type: str = Field(description="the exception's class")
    message: str


class ImageRecord(_Record):
    """The photo; `path` is POSIX, relative to the root named in run.json, bytes that are no UTF-8 as `\\xNN`."""

    path: str
    sha256: str | None = None
    width: int | None = Field(None, description="pixels, upright")
    height: int | None = Field(None, description="pixels, upright")
    notes: tuple[str, ...] = Field((), description="what was done to the photo that a person should know")


class ModelRecord(_Record):
    """The network."""

    name: str
    sha256: str
    input_size: tuple[int, int] = Field(description="rows, columns")


class TargetRecord(_Record):
    """A class."""

    index: int
    label: str
    wnid: str | None = None


class Prediction(TargetRecord):
    """One of the classes the network finds most likely."""

    probability: float
    logit: float


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


class MapRecord(_Record):
    """One saliency map."""

    layer: str
    method: str
    target: TargetRecord
    selection: SelectionRecord
    state: Literal["ok", "blank", "nonfinite"]
    grid: tuple[int, int] = Field(description="rows, columns")
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

    schema_version: Literal[1] = SCHEMA_VERSION
    status: Literal["ok", "failed"]
    error: Failure | None = None
    fingerprint: str = Field(
        description="of everything that decides the result; of all but the photo when its file could not be read"
    )
    image: ImageRecord
    model: ModelRecord
    settings: dict[str, Any]
    predictions: tuple[Prediction, ...] = ()
    maps: tuple[MapRecord, ...] = ()
    joint: tuple[JointRecord, ...] = ()
    timing: dict[str, float] = Field({}, description="seconds by step; of a pass shared by several images, its share")
    versions: dict[str, str]

    def row(self) -> dict[str, Any]:
        """Return what a line of index.jsonl and of `--json` says."""
        full = self.model_dump(mode="json")
        row = {key: full[key] for key in ("status", "error", "fingerprint", "predictions", "maps", "joint")}
        return row | {"path": self.image.path, "sha256": self.image.sha256}

    def write(self, folder: Path) -> None:
        """Write this as `folder`/manifest.json.

        Raises:
            OSError: it cannot be written.
        """
        write_new(folder / MANIFEST, f"{to_json(self.model_dump(mode='json'), indent=1)}\n".encode())


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a finished image; None where there is none that this version understands."""
    try:
        return Manifest.model_validate_json(read_regular(folder / MANIFEST))
    except (OSError, ValidationError):
        return None


def files_of(row: Mapping[str, Any]) -> list[str]:
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
