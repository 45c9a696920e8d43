"""Class names, and the texts by which a user may name a class."""

import csv
import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cam_cli.errors import UsageError
from cam_cli.models.class_hints import none_of_that_name, several_of_that_name
from cam_cli.models.label_forms import names_of_json, refuse_other_forms, synsets, unquoted

_NUMBERED = re.compile(r"\s*(\d{1,6})(?:\s*[:,;)=](?!\d)\s*|\.?\s+)(\S.*)")
"""A line with an index before the name, as Teachable Machine writes them: `0 cat`."""
_NAMED = ("label", "class", "class_name", "classname")
"""Other titles of the column `name`."""

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
            text: `predicted`, `top5` (any number), an index, a WordNet id, or a name in any case; or several, between commas.
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
        if "," in wanted and not self._named(wanted):
            return tuple(dict.fromkeys(i for part in wanted.split(",") for i in self.resolve(part, classes)))
        return (self._index(wanted, classes),)

    def find(self, text: str, classes: int) -> int | None:
        """Return the index of the class that a folder or a table names, also with `_` for a blank; None if there is none."""
        for name in dict.fromkeys((text.strip(), text.strip().replace("_", " "))):
            with suppress(UsageError):
                return self._index(name, classes)
        return None

    def _index(self, wanted: str, classes: int) -> int:
        """Return the index of a class by its index, WordNet id or name; raises UsageError as `resolve` does."""
        if re.fullmatch(r"\d+", wanted):
            if int(wanted) >= classes:
                raise UsageError(f"target {wanted}: the model has {classes} classes, 0 to {classes - 1}")
            return int(wanted)
        if not self.entries:
            raise UsageError(
                f"target '{wanted}': this model has no class names; give an index, or names with --labels FILE"
            )
        found = self._named(wanted)
        if len(found) > 1:
            raise UsageError(several_of_that_name(wanted, [self.entries[index] for index in found]))
        if not found:
            raise UsageError(none_of_that_name(wanted, self.entries))
        return found[0]

    def _named(self, wanted: str) -> tuple[int, ...]:
        """Return the classes with this WordNet id, or else this name, or else this among their other names."""
        key = wanted.casefold()
        for names in (lambda e: (e.wnid,), lambda e: (e.name, ", ".join(e.synonyms)), lambda e: e.synonyms):
            if found := tuple(e.index for e in self.entries if key in [n.casefold() for n in names(e) if n]):
                return found
        return ()


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

    Plain text with one name a line, in the order of the output, is read too, also with the index before each name: `0 cat`.
    So are JSON (a list, {"0": name}, {"0": [WordNet id, name]}) and lines of a WordNet id and names.
    Line ends of any system, a byte order mark, and empty lines at the end do not matter.

    Raises:
        UsageError: the file cannot be read; an empty line before the last name; indices that are not 0, 1, 2, ...; a row with
            more cells than the header.
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
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"labels '{path}' are not UTF-8 text ({error.reason}); save them as UTF-8") from None
    except OSError as error:
        raise UsageError(f"labels '{path}' cannot be read: {error}") from None
    if text.lstrip()[:1] in ("{", "["):
        return Labels(tuple(Label(i, name, wnid) for i, (name, wnid) in enumerate(names_of_json(text, path))))
    lines = _lines(text)
    if lines and _header(lines[0], path):
        return Labels(_from_csv(lines, path))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise UsageError(_empty_line(path, number))
    refuse_other_forms(lines, path)
    if (known := synsets(lines)) is not None:
        return Labels(tuple(_of_synset(index, wnid, names) for index, (wnid, names) in enumerate(known)))
    names = unquoted(_unnumbered(unquoted(lines), path))
    return Labels(tuple(Label(index, name) for index, name in enumerate(names)))


def _of_synset(index: int, wnid: str, names: str) -> Label:
    name, *others = [part.strip() for part in names.split(",") if part.strip()]
    return Label(index, name, wnid, tuple(others))


def _lines(text: str) -> list[str]:
    """Return the lines of a text, without the empty ones at its end; what ends them otherwise is part of a name."""
    lines = re.split(r"\r\n|\r|\n", text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def _empty_line(path: Path, number: int) -> str:
    return f"{path}:{number}: an empty line before the last name; delete it, or name the class there"


def _unnumbered(lines: Sequence[str], path: Path) -> list[str]:
    """Return the names without the index that may stand before all of them; raises UsageError if it does not count from 0."""
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    numbers = [int(match[1]) for match in numbered if match]
    names = [match[2].strip() for match in numbered if match]
    if not numbers or len(numbers) < len(lines) or min(numbers) > 1 or len(set(names)) < len(names):
        return [line.strip() for line in lines]  # also where the numbers tell the classes apart: `0 stars`, `2 stars`
    wanted = range(len(lines))
    for line, (number, right) in enumerate(zip(numbers, wanted, strict=True), 1):
        if number == right:
            continue
        if numbers == [index + 1 for index in wanted]:
            raise UsageError(
                f"{path}:1: the names are numbered from 1, and classes count from 0; number them from 0, or not"
            )
        if min(numbers) == 0:
            raise UsageError(
                f"{path}:{line}: numbered {number} where {right} is expected; number the names 0, 1, 2, ..."
            )
        return [line.strip() for line in lines]
    return names


def _header(line: str, path: Path) -> tuple[list[str], str] | None:
    """Return the columns of a CSV and what separates them; None if the line is no header."""
    for separator in ",;\t":
        columns = [column.strip().casefold() for column in next(csv.reader([line], delimiter=separator), [])]
        other = next((title for title in _NAMED if title in columns), None)
        is_table = len(columns) > 1 or path.suffix.lower() in (".csv", ".tsv")
        if "name" not in columns and is_table:
            columns = ["name" if column == other else column for column in columns]
        if "name" in columns:
            return ["index" if column == "id" and "index" not in columns else column for column in columns], separator
    return None


def _from_csv(lines: Sequence[str], path: Path) -> tuple[Label, ...]:
    columns, separator = _header(lines[0], path) or ([], ",")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, skipinitialspace=True)
    entries: list[Label] = []
    try:
        next(reader)
        for cells in reader:
            number = reader.line_num
            if not any(cell.strip() for cell in cells):
                raise UsageError(_empty_line(path, number))
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise UsageError(
                    f"{path}:{number}: {len(cells)} cells under {len(columns)} columns; quote a name that has a '{separator}'"
                )
            label = _label(len(entries), dict(zip(columns, cells, strict=False)), path, number)
            if label.index != len(entries):
                raise UsageError(
                    f"{path}:{number}: index {label.index} where {len(entries)} is expected; the column 'index' must count "
                    "0, 1, 2, ... without a gap"
                )
            entries.append(label)
    except csv.Error as error:
        raise UsageError(f"labels '{path}' cannot be read: {error}") from None
    return tuple(entries)


def _label(position: int, row: dict[str, str], path: Path, line: int) -> Label:
    index = (row.get("index") or "").strip() or str(position)
    if not index.isdecimal():
        raise UsageError(f"{path}:{line}: index '{index}' is not a whole number")
    synonyms = tuple(part.strip() for part in row.get("synonyms", "").split(",") if part.strip())
    return Label(
        int(index), row.get("name", "").strip() or str(position), row.get("wnid", "").strip() or None, synonyms
    )
