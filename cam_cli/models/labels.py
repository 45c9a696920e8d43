"""Class names, and the texts by which a user may name a class."""

import csv
import difflib
import hashlib
import re
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cam_cli.errors import UsageError

_MOST_MEMBERS = 1000

MOST_BYTES = 16 * 1024**2
"""A larger file of class names is refused; that of ImageNet has 48 kB."""


@dataclass(frozen=True)
class Label:
    """One class: its index in the model's output, its name, and if known its WordNet id and other names."""

    index: int
    name: str
    wnid: str | None = None
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """The classes of a model in the order of its output; empty if their names are not known."""

    entries: tuple[Label, ...] = ()

    def __getitem__(self, index: int) -> Label:
        """Return the class at `index`; a class without a name gets its index as the name."""
        return self.entries[index] if index < len(self.entries) else Label(index, str(index))

    def digest(self) -> str | None:
        """Return a sha256 of all names, or None if there are none."""
        return hashlib.sha256(repr(self.entries).encode()).hexdigest() if self.entries else None

    def resolve(self, text: str, classes: int) -> tuple[int, ...]:
        """Return the class indices that a text means, or -r for the class of rank r in an image's scores.

        Args:
            text: `predicted`, `top5` (any number), an index, a WordNet id, or a name in any case.
            classes: how many classes the model has.

        Raises:
            UsageError: no such class, or several of that name.
        """
        wanted = text.strip()
        if wanted == "predicted":
            return (-1,)
        if ranked := re.fullmatch(r"top(\d+)", wanted):
            count = int(ranked[1])
            if not 1 <= count <= classes:
                raise UsageError(f"target '{wanted}': the model has {classes} classes, so top1 to top{classes}")
            return tuple(range(-1, -count - 1, -1))
        if re.fullmatch(r"\d+", wanted):
            if int(wanted) >= classes:
                raise UsageError(f"target {wanted}: the model has {classes} classes, 0 to {classes - 1}")
            return (int(wanted),)
        if not self.entries:
            raise UsageError(
                f"target '{wanted}': this model has no class names; give an index, or names with --labels FILE"
            )
        key = wanted.casefold()
        for names in (lambda e: (e.wnid,), lambda e: (e.name, ", ".join(e.synonyms)), lambda e: e.synonyms):
            found = [e.index for e in self.entries if key in [n.casefold() for n in names(e) if n]]
            if len(found) > 1:
                choices = " or ".join(map(str, found))
                raise UsageError(f"target '{wanted}' names {len(found)} classes; give the index: {choices}")
            if found:
                return (found[0],)
        known = {n.casefold(): f"'{n}' ({e.index})" for e in self.entries for n in (e.name, *e.synonyms)}
        close = difflib.get_close_matches(key, known, n=3, cutoff=0.6)
        close += [n for n in known if key in n.split()][: 3 - len(close)]
        listed = ", ".join(known[n] for n in dict.fromkeys(close))
        hint = f"near it: {listed}" if close else "`smoothcam models --labels` lists them"
        raise UsageError(f"target '{wanted}': no class of that name; {hint}")


def labels_beside(model: Path) -> Path | None:
    """Return the file of class names that nobody has to name: in a `.tflite` file itself, or `labels.txt` beside a model."""
    if _inside_tflite(model) is not None:
        return model
    inside = [model / "labels.txt", model / "assets" / "labels.txt"] if model.is_dir() else []
    return next((path for path in [*inside, model.parent / "labels.txt"] if path.is_file()), None)


def _inside_tflite(path: Path) -> bytes | None:
    """Return the class names in the zip at the end of a `.tflite` file, where the tools of TensorFlow Lite put them."""
    if not path.is_file() or path.stat().st_size < 8:
        return None
    with path.open("rb") as file:
        if file.read(8)[4:] != b"TFL3":
            return None
    with suppress(zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error), zipfile.ZipFile(path) as archive:
        texts = [info.filename for info in archive.infolist()[:_MOST_MEMBERS] if info.filename.endswith(".txt")]
        texts.sort(key=lambda name: "label" not in name)
        if texts:
            with archive.open(texts[0]) as member:
                return member.read(MOST_BYTES + 1)
    return None


def read_labels(path: Path) -> Labels:
    """Read class names from a CSV file with the column `name` and, optionally, `index`, `wnid` and `synonyms`.

    Plain text with one name a line, in the order of the output, is read too.

    Raises:
        UsageError: the file cannot be read, or its indices are not 0, 1, 2, ...
    """
    try:
        data = _inside_tflite(path)
        if data is None:
            with path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UsageError(
                f"labels '{path}' are larger than {MOST_BYTES:,} bytes, so hardly class names; check the name"
            )
        lines = data.decode("utf-8-sig").splitlines()
        header = next(csv.reader(lines[:1]), [])
        if "name" not in header and (numbered := _numbered(lines)):
            return numbered
        if "name" not in header:
            return Labels(tuple(Label(i, line.strip()) for i, line in enumerate(lines) if line.strip()))
        entries = tuple(_label(position, row, path) for position, row in enumerate(csv.DictReader(lines)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"labels '{path}' cannot be read: {error}") from None
    if [entry.index for entry in entries] != list(range(len(entries))):
        raise UsageError(f"labels '{path}': the column 'index' must count 0, 1, 2, ... without a gap")
    return Labels(entries)


def _numbered(lines: list[str]) -> Labels | None:
    """Return the names of lines such as `0 Cat`, as Teachable Machine writes them, if all count from 0."""
    pairs = [re.fullmatch(r"(\d+)[ :]+(\S.*)", line.strip()) for line in lines if line.strip()]
    if not pairs or any(pair is None or int(pair[1]) != number for number, pair in enumerate(pairs)):
        return None
    return Labels(tuple(Label(number, pair[2].strip()) for number, pair in enumerate(pairs) if pair))


def _label(position: int, row: dict[str, str], path: Path) -> Label:
    index = row.get("index") or str(position)
    if not index.isdecimal():
        raise UsageError(f"{path}:{position + 2}: index '{index}' is not a whole number")
    synonyms = tuple(part.strip() for part in (row.get("synonyms") or "").split(",") if part.strip())
    return Label(int(index), row["name"] or str(position), row.get("wnid") or None, synonyms)
