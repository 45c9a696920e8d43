"""What the shell offers behind an option when Tab is pressed; nothing here waits for TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

_PLACES = {"FILE": "file", "FOLDER|URL": "dir", "NAME|PATH": "file"}


class Setting(type(click.STRING)):  # type: ignore[misc]
    """Text, which a setting's own type reads later; offered are the words that it may be, or files."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin with what is there already, after a sign to the shell where files may be meant too."""
        place = _PLACES.get(str(param.metavar))
        words = (CompletionItem(word) for word in _words(str(param.name), ctx) if word.startswith(incomplete))
        return [*([CompletionItem(incomplete, type=place)] if place else []), *words]


def _words(key: str, ctx: click.Context) -> Iterator[str]:
    from cam_cli.config import RunConfig
    from cam_cli.models.bundled import bundled_models, layer_names

    match key:
        case "model":
            yield from bundled_models()
        case "layers":
            bundled = bundled_models()
            model = ctx.params.get("model")
            yield "auto"
            for path in [bundled[model]] if model in bundled else [] if model else bundled.values():
                yield from sorted(layer_names(path))
        case "targets":
            yield from ("predicted", "folder", "top5")
        case "device":
            yield from ("auto", "cpu", "gpu")
        case _:
            schema = RunConfig.model_json_schema()
            yield from _choices(schema["properties"].get(key, {}), schema)


def _choices(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield all words that a part of a JSON Schema names as possible."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    yield from (str(word) for word in node.get("enum", [node["const"]] if "const" in node else []))
    for part in (*node.get("anyOf", ()), node.get("items", {})):
        if part:
            yield from _choices(part, schema)
