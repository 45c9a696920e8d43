"""Runs docs/quickstart.ipynb and writes what its cells show into it; `make notebook`.

It needs no Jupyter. A cell shows the value of its last line, as a notebook would: as HTML, as a picture or as text.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
from pathlib import Path
from typing import Any

from PIL import Image

NOTEBOOK = Path(__file__).resolve().parent.parent / "quickstart.ipynb"


def run(source: str, names: dict[str, Any], title: str) -> dict[str, Any] | None:
    """Run a cell; return what it shows, by media type."""
    tree = ast.parse(source, title)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, title, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), title, "eval"), names)
    return None if value is None else shown(value)


def shown(value: object) -> dict[str, Any]:
    """Return a value as a notebook shows it."""
    if isinstance(value, Image.Image):
        file = io.BytesIO()
        value.convert("RGB").save(file, "JPEG", quality=85)
        return {"image/jpeg": base64.b64encode(file.getvalue()).decode(), "text/plain": ["an image"]}
    for name, kind in (("_repr_html_", "text/html"), ("_repr_png_", "image/png"), ("_repr_jpeg_", "image/jpeg")):
        if hasattr(value, name):
            data = getattr(value, name)()
            return {kind: base64.b64encode(data).decode() if isinstance(data, bytes) else [data]}
    return {"text/plain": [repr(value)]}


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with the outputs of its cells, run in order in the working directory."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count, cells = 0, []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            data = run("".join(cell["source"]), names, f"cell {count}")
            output = {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data}
            cell = cell | {"execution_count": count, "outputs": [output] if data else []}
        cells.append(cell)
    return notebook | {"cells": cells}


def main() -> None:
    """Run the notebook where it is and write it."""
    os.chdir(NOTEBOOK.parent)
    notebook = executed(json.loads(NOTEBOOK.read_text("utf-8")))
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
