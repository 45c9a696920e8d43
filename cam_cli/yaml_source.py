"""Any YAML file into any frozen pydantic model, every mistake reported with its file, line and column.

Scalars stay text until the field's type reads them: `no`, `010`, `1e-3` and `1:30` mean what the field means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cam_cli.errors import ConfigError
from cam_cli.text import near, one_line, shown_if_odd

MAX_BYTES = 1 << 20
MAX_NODES = 10_000
MAX_DEPTH = 50

Loc = tuple[str | int, ...]
"""The path to a value, such as `("input", "size", 0)`."""

M = TypeVar("M", bound=BaseModel)
_Schema = dict[str, Any]

_TAG = "tag:yaml.org,2002:"
_NULL = _TAG + "null"
_SCALARS = ("str", "null", "bool", "int", "float", "timestamp", "value")
_READ_TAGS: dict[type[yaml.Node], set[str]] = {
    yaml.ScalarNode: {_TAG + kind for kind in _SCALARS},
    yaml.SequenceNode: {_TAG + "seq"},
    yaml.MappingNode: {_TAG + "map"},
}
_SHOWN_CHARACTERS = 60
_LINE = re.compile(r":(\d+):(\d+)$")


@dataclass(frozen=True)
class Tree:
    """Settings before their types are known: text, None, lists and mappings.

    name: the file, as messages name it. data: the top-level mapping; scalars are str, plain `null`, `~` and nothing are None.
    positions: where each value is, `file:line:column` (1-based), or the flag or variable that gave it. key_positions: of each
    key. mistakes: what the file has wrong, whatever its settings mean.
    """

    name: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    positions: Mapping[Loc, str] = field(default_factory=dict)
    key_positions: Mapping[Loc, str] = field(default_factory=dict)
    mistakes: tuple[ConfigError, ...] = ()

    def with_value(self, key: str, value: object, position: str) -> Tree:
        """Return the tree with the top-level `key` set to `value`, which is at `position`."""
        others = {loc: where for loc, where in self.positions.items() if loc[0] != key}
        return replace(self, data={**self.data, key: value}, positions={**others, (key,): position})


class KeyedError(ValueError):
    """Raised by a whole model's validator to name the `key` at fault; the message follows the key's name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def read_yaml(path: Path, model: type[M]) -> M:
    """Read one YAML file into `model`; raises ConfigError, with all mistakes, if it cannot be read or does not fit."""
    return validated(read_tree(path), model)


def read_tree(path: Path) -> Tree:
    """Read a YAML file of up to 1 MiB and 10,000 values, aliases written out; an empty one is an empty tree.

    A key that is given twice, and a key or tag that is not plain, are `mistakes` of the tree.

    Raises ConfigError for no such file, a folder, not UTF-8, not YAML, several documents, a top level that is no mapping, an
    anchor that holds itself, too much.
    """
    name = shown_if_odd(path)
    loader = _Loader(_read_text(path, name))
    loader.name = name
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        quotes = "; put a value that begins with * or & in quotes" if "alias" in what or "anchor" in what else ""
        raise ConfigError(f"not valid YAML: {' '.join(what.split())}{quotes}", _at(mark) if mark else name) from None
    except (ValueError, OverflowError):
        raise ConfigError("not valid YAML: an escape names no character", _at(loader.get_mark())) from None
    if root is None or root.tag == _NULL:
        return Tree(name)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("the file must hold `key: value` lines at its top level", _at(root.start_mark))
    builder = _Builder()
    data = builder.mapping(root, ())
    return Tree(name, data, builder.positions, builder.key_positions, tuple(builder.mistakes))


def validated(tree: Tree, model: type[M]) -> M:
    """Return the tree's values as a `model`; raises ConfigError for all values and keys that do not fit, in their order."""
    try:
        fitting, mistakes = model.model_validate(dict(tree.data)), list(tree.mistakes)
    except ValidationError as error:
        causes = _causes(error.errors(include_url=False), tree)
        mistakes = [*tree.mistakes, *(_explained(details, tree, model) for details in causes)]
    if mistakes:
        raise ConfigError.of(sorted(mistakes, key=_line_and_column)) from None
    return fitting


def _read_text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError("no such file; check the name and the folder the command runs in", name) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder; name a YAML file in it", name) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}; check its permissions", name) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES:,} bytes, so hardly a config; check the name", name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text; save the file as UTF-8", f"{name}:{line}") from None
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text):
        before = text[: found.start()]
        position = f"{name}:{before.count(chr(10)) + 1}:{found.start() - before.rfind(chr(10))}"
        raise ConfigError(f"control character {found.group()!r} is not allowed in YAML; remove it", position)
    return text


def _at(mark: yaml.Mark) -> str:
    return f"{mark.name}:{mark.line + 1}:{mark.column + 1}"


class _Loader(yaml.SafeLoader):
    """Composes nodes like its parent, but gives up early on documents too large or deep for settings."""

    count = 0
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.count += 1
        self.depth += 1
        if self.count > MAX_NODES or self.depth > MAX_DEPTH:
            raise _too_much(_at(self.peek_event().start_mark))  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _too_much(position: str) -> ConfigError:
    limits = f"{MAX_NODES:,} values or {MAX_DEPTH} levels"
    return ConfigError(f"more than {limits}, aliases written out; shorten the file", position)


class _Builder:
    def __init__(self) -> None:
        self.positions: dict[Loc, str] = {}
        self.key_positions: dict[Loc, str] = {}
        self.mistakes: list[ConfigError] = []
        self._open: set[int] = set()

    def mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, object]:
        self._check_tag(node)
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            position = _at(key_node.start_mark)
            if problem := _problem_of_key(key_node):
                self.mistakes.append(ConfigError(problem, position))
                continue
            self._check_tag(key_node)
            key = str(key_node.value)
            if key in values:
                first = self.key_positions[*loc, key]
                problem = f"key {_shown(key)} is given twice, first at {first}; keep one"
                self.mistakes.append(ConfigError(problem, position))
                continue
            self.key_positions[*loc, key] = position
            values[key] = self._value(value_node, (*loc, key))
        return values

    def _value(self, node: yaml.Node, loc: Loc) -> object:
        position = self.positions[loc] = _at(node.start_mark)
        if id(node) in self._open:
            raise ConfigError("this anchor holds an alias of itself; write the values out", position)
        if len(self.positions) > MAX_NODES or len(loc) > MAX_DEPTH:
            raise _too_much(position)
        self._check_tag(node)
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == _NULL else str(node.value)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, loc)
            return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag not in _READ_TAGS[type(node)]:
            shown = _shown(node.tag.replace(_TAG, "!!"))
            self.mistakes.append(ConfigError(f"tag {shown} is not read; remove it", _at(node.start_mark)))


def _problem_of_key(node: yaml.Node) -> str:
    if node.tag == _TAG + "merge":
        return "merge keys (<<) are not read; write the keys out"
    if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
        return "a key must be plain text, such as `nsamples`"
    return ""


def _loc(details: ErrorDetails) -> Loc:
    cause = details.get("ctx", {}).get("error")
    return (*details["loc"], cause.key) if isinstance(cause, KeyedError) else details["loc"]


def _causes(mistakes: list[ErrorDetails], tree: Tree) -> list[ErrorDetails]:
    """Return one mistake for each value, leaving out lists that only hold a mistake."""
    inner = {_loc(details)[:end] for details in mistakes for end in range(len(_loc(details)))}
    causes = [details for details in mistakes if _loc(details) not in inner]
    known = {**tree.positions, **tree.key_positions}
    first: dict[Loc, ErrorDetails] = {}
    for details in causes:
        loc = _loc(details)
        first.setdefault(_known(loc, known) or loc, details)
    return list(first.values())


def _line_and_column(error: ConfigError) -> tuple[int, int]:
    match = _LINE.search(error.position)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _known(loc: Loc, positions: Mapping[Loc, object]) -> Loc:
    """Return the longest beginning of `loc` that has a position."""
    while loc and loc not in positions:
        loc = loc[:-1]
    return loc


def _explained(details: ErrorDetails, tree: Tree, model: type[BaseModel]) -> ConfigError:
    loc = _loc(details)
    position = tree.positions.get(_known(loc, tree.positions), tree.name)
    names = [part for part in loc if isinstance(part, str) and part != "[key]"]
    key = ".".join(name if name.isidentifier() else _shown(name) for name in names)
    is_named = position != tree.name and not _LINE.search(position)  # a flag or a variable, whose name is the setting's
    subject = "" if is_named else f"{key} "
    schema = model.model_json_schema()
    if details["type"] == "extra_forbidden":
        known = [str(name) for name in _schema_at(schema, loc[:-1]).get("properties", {})]
        hint = near(str(loc[-1]), known) or f"; known keys: {', '.join(known)}"
        return ConfigError(f"unknown key {_shown(loc[-1])}{hint}", tree.key_positions.get(loc, position))
    cause = details.get("ctx", {}).get("error")
    if cause is not None:
        return ConfigError(f"{subject}{one_line(cause)}", position)
    absent_item = details["type"] == "missing" and isinstance(loc[-1], int)
    wanted = _schema_at(schema, loc[:-1] if absent_item else loc)
    phrase = _phrase(wanted, schema)
    if details["type"] == "missing" and not absent_item:
        return ConfigError(f"key {key!r} is missing; it must be {phrase}", position)
    if details["type"] == "finite_number":
        phrase = phrase.replace("a number", "a finite number", 1)
    found = details["input"]
    hint = near(found, [str(choice) for choice in wanted.get("enum", [])]) if isinstance(found, str) else ""
    return ConfigError(f"{subject}must be {phrase}, not {_shown(found)}{hint}", position)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _schema_at(schema: _Schema, loc: Loc) -> _Schema:
    """Return the part of a JSON Schema that describes `loc`, as deep as it can be followed."""
    node = _plain(schema, schema)
    for part in loc:
        if isinstance(part, str):
            below = node.get("properties", {}).get(part) or node.get("additionalProperties")
        else:
            below = dict(enumerate(node.get("prefixItems", []))).get(part) or node.get("items")
        if not isinstance(below, dict):
            break
        node = _plain(below, schema)
    return node


def _plain(node: _Schema, schema: _Schema) -> _Schema:
    """Return a schema node without its reference, and without `null` where that is the only alternative."""
    if "$ref" in node:
        return _plain(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    return _plain(options[0], schema) if len(options) == 1 else node


def _phrase(node: _Schema, schema: _Schema) -> str:
    node = _plain(node, schema)
    if "anyOf" in node:
        return " or ".join(_phrase(option, schema) for option in node["anyOf"] if option.get("type") != "null")
    if choices := node.get("enum") or ([node["const"]] if "const" in node else []):
        return f"one of {', '.join(map(str, choices))}" if len(choices) > 1 else str(choices[0])
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(node)
    if kind == "array":
        items = node.get("prefixItems") or ([node["items"]] if node.get("items") else [])
        length = f" of {node['minItems']}" if node.get("minItems") == node.get("maxItems", 0) else ""
        at_least = " of at least one" if node.get("minItems") == 1 and not length else ""
        return f"a list{length}{at_least}" + (f", each {_phrase(items[0], schema)}" if items else "")
    names = {"boolean": "true or false", "object": "a mapping of keys to values"}
    text = "text that is not empty" if node.get("minLength") else "text"
    return names.get(str(kind), "a path" if node.get("format") == "path" else text)


def _bounds(node: _Schema) -> str:
    if "minimum" in node and "maximum" in node:
        return f" from {node['minimum']} to {node['maximum']}"
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{word} {node[name]}" for name, word in words.items() if name in node]
    return f" {' and '.join(bounds)}" if bounds else ""
