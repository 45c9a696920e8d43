"""The names of the networks in keras.applications, read from Keras's own files: importing it takes many seconds."""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_EXPORTED = re.compile(r"\b([A-Z]\w*) as \1\b")


@cache
def application_names() -> frozenset[str]:
    """Return the names in lower case; empty where this Keras keeps its list elsewhere, so that nothing can be told from it."""
    keras = find_spec("keras")
    for folder in (keras.submodule_search_locations or ()) if keras else ():
        for listing in (
            Path(folder, "applications/__init__.py"),
            Path(folder, "_tf_keras/keras/applications/__init__.py"),
        ):
            if listing.is_file() and (names := _EXPORTED.findall(listing.read_text("utf-8"))):
                return frozenset(name.lower() for name in names)
    return frozenset()
