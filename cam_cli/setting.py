"""One setting: a field of `RunConfig` with what is known of it besides its type and its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo


def setting(default: object, text: str, metavar: str = "", **facts: Any) -> Any:
    """Return a field of `RunConfig`; `facts` are its bounds `ge`, `gt`, `le` and the further attributes of its `Setting`."""
    bounds = {name: facts.pop(name) for name in ("ge", "gt", "le") if name in facts}
    return Field(default, description=text, json_schema_extra={"metavar": metavar, **facts}, **bounds)


@dataclass(frozen=True)
class Setting:
    """What is known of a setting besides its type and its checks.

    Args:
        text: what it does, with other settings named by their flags.
        section: out of `config.SECTIONS`.
        words: values to offer for completion.
        unset: what the default None or () stands for.
        many: a list; commas separate values, the flag is repeatable, and a variable may hold one value a line (`lines`).
        common: most people need it, so `--help` lists it; `--help-all` lists every setting.
        counts: it can change a result, so it is in the fingerprint.
    """

    key: str
    default: object
    text: str
    section: str
    metavar: str
    words: tuple[str, ...] = ()
    flag: str = ""
    short: str = ""
    unset: str = "none"
    many: Literal["", "lines", "commas"] = ""
    counts: bool = True
    common: bool = False

    @classmethod
    def of_field(cls, key: str, field: FieldInfo) -> Setting:
        """Return what is known of a field that `setting` made."""
        facts: Any = field.json_schema_extra
        words = _words(field.annotation)
        known = {"words": words, **facts, "metavar": facts["metavar"] or "|".join(words)}
        return cls(key, field.default, field.description or "", **known)


def _words(kind: object) -> tuple[str, ...]:
    """Return the words that a type names as possible."""
    parts = get_args(kind)
    return parts if get_origin(kind) is Literal else tuple(word for part in parts for word in _words(part))
