"""Where a model comes from, found without TensorFlow: its file, its card, and the digests that identify it."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cam_cli.errors import ModelError, UsageError
from cam_cli.models.application_names import application_names
from cam_cli.models.bundled import bundled_models, choose_bundled
from cam_cli.models.card import ModelCard, read_card
from cam_cli.models.labels import labels_beside
from cam_cli.text import near, printable, shown

IMAGENET = "imagenet1k.csv"


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from. Its file is read once, to make one; `load_network` takes it as it is.

    chosen: the name or path of the model. named: the user named it; False for the default. path: its file or folder; None if
    there is none, as for the networks of keras.applications. sha256: of the file. labels: the file of class names, if any.
    weights: a weights file apart from the model. labels_beside: nobody names the labels, they were found beside the model or in
    it; they count if there is one for each class.
    """

    chosen: str
    named: bool
    path: Path | None
    sha256: str | None
    card: ModelCard | None
    labels: Path | None
    weights: Path | None
    labels_beside: bool = False

    def identity(self) -> dict[str, str | None]:
        """Return the digests of all files that decide which model is loaded."""
        card = self.card.model_dump_json() if self.card else None
        files = {"labels": self.labels, "weights": self.weights}
        digests = {kind: sha256_of(path) if path and path.exists() else None for kind, path in files.items()}
        return {"chosen": self.chosen, "model": self.sha256, "card": card, **digests}


def find_source(
    name: str | None, layers: Sequence[str] = ("auto",), labels: Path | None = None, weights: Path | None = None
) -> ModelSource:
    """Find a model's files without loading it.

    Args:
        name: a bundled name, a keras.applications name or a path; None takes the bundled model that has `layers`.
        layers: the layers to be explained.
        labels: a file of class names instead of the card's.
        weights: a weights file for a network of keras.applications.

    Raises:
        UsageError: no such model or file, or no bundled model has the layers.
        ModelError: the file is not the one its card describes. ConfigError: a mistake in its card.
    """
    chosen = name or choose_bundled(layers)
    path = bundled_models().get(chosen, Path(chosen))
    for what, file in (("labels", labels), ("weights", weights)):
        if file is not None and not file.exists():
            raise UsageError(f"{what} {shown(file)}: no such file{_near_file(file)}; correct the path")
    if not path.exists():
        names = application_names()
        if names and chosen.lower() not in names:
            raise no_such_model(chosen)
        return ModelSource(chosen, bool(name), None, None, None, labels or imagenet_labels(), weights)
    digest, card_file = sha256_of(path), path.with_suffix(".yaml")
    card = read_card(card_file) if card_file.is_file() else None
    if card and card.sha256 and card.sha256 != digest:
        raise ModelError(
            f"'{path}' is not the file its card describes: its sha256 is {digest}, {card_file.name} says {card.sha256}"
        )
    named = labels or (card.labels if card else None)
    beside = None if named else labels_beside(path)
    return ModelSource(chosen, bool(name), path, digest, card, named or beside, weights, beside is not None)


def no_such_model(chosen: str) -> UsageError:
    """Return the error that a name is none of a file, of a bundled model, or of a network of keras.applications."""
    bundled = bundled_models()
    hint = _near_file(Path(chosen)) or near(chosen.lower(), [*bundled, *application_names()])
    return UsageError(
        f"no model {shown(chosen)}{hint}: neither a file, nor a bundled model ({', '.join(bundled)}), nor one of "
        "`smoothcam models --applications`"
    )


def _near_file(path: Path) -> str:
    """Return ` (did you mean '...'?)` with the file beside it whose name is nearest to that of a path that is not there."""
    with suppress(OSError):
        return near(path.name, [printable(other.name) for other in path.parent.iterdir()])
    return ""


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
