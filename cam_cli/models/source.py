"""A model as it was named, before TensorFlow has to be there: its file, its card, and what tells it from any other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cam_cli.errors import ModelError
from cam_cli.models.bundled import bundled_models, choose_bundled
from cam_cli.models.card import ModelCard, read_card

IMAGENET = "imagenet1k.csv"


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    chosen: what it is called by. path: its file or folder; None where there is none of that name, as for the networks of
    keras.applications. labels: the file of its class names, if any. weights: a weights file named apart from the model.
    """

    chosen: str
    path: Path | None
    sha256: str | None
    card: ModelCard | None
    labels: Path | None
    weights: Path | None

    def identity(self) -> dict[str, str | None]:
        """Return digests of all files that decide what is opened; the same where the same model would be."""
        return {
            "chosen": self.chosen,
            "model": self.sha256,
            "card": self.card.model_dump_json() if self.card else None,
            "labels": sha256_of(self.labels) if self.labels and self.labels.exists() else None,
            "weights": sha256_of(self.weights) if self.weights and self.weights.exists() else None,
        }


def find_source(name: str | None, layers: Sequence[str], labels: Path | None, weights: Path | None) -> Source:
    """Find what is known of a model without opening it.

    Args:
        name: a bundled name, a keras.applications name or a path; None takes the bundled model that has `layers`.

    Raises:
        UsageError: no bundled model has the layers. ModelError: the file is not the one its card describes.
        ConfigError: a mistake in its card.
    """
    chosen = name or choose_bundled(layers)
    path = bundled_models().get(chosen, Path(chosen))
    if not path.exists():
        return Source(chosen, None, None, None, labels or imagenet_labels(), weights)
    digest = sha256_of(path)
    card = _card(path, digest)
    return Source(chosen, path, digest, card, labels or (card.labels if card else None), weights)


def imagenet_labels() -> Path:
    """Return the file of the 1000 classes of ImageNet."""
    return next(iter(bundled_models().values())).with_name(IMAGENET)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, or of the names and contents of all files in a folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    total = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{inner.relative_to(path).as_posix()}\0{sha256_of(inner)}\n".encode())
    return total.hexdigest()


def _card(path: Path, digest: str) -> ModelCard | None:
    place = path.with_suffix(".yaml")
    if not place.is_file():
        return None
    card = read_card(place)
    if card.sha256 and card.sha256 != digest:
        raise ModelError(
            f"'{path}' is not the file its card describes: its sha256 is {digest}, {place.name} says {card.sha256}"
        )
    return card
