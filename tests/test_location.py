"""URLs of schemes that are not read are named, and paths are paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from cam_cli.storage.location import Url, location

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    "text", ["http://host/a.jpg", "https://host/a", "ftp://h/a", "az://c/a", "hdfs://h/a", "HTTP://h/a"]
)
def test_another_scheme_is_named_with_those_that_work(text: str) -> None:
    with pytest.raises(ValueError, match=rf"scheme {text.partition(':')[0].lower()}.*s3:// and gs:// are read"):
        location(text)


def test_what_to_do_instead_is_told() -> None:
    for text, advice in (("http://h/a", "curl"), ("file:///a", "the path alone"), ("S3://b/k", "lower case")):
        with pytest.raises(ValueError, match=advice):
            location(text)


@pytest.mark.parametrize("text", ["a.jpg", "a:b.jpg", "C:/a.jpg", "./http:/a", "a/http://b", "x:/", "://a"])
def test_paths_stay_paths(text: str) -> None:
    assert location(text) == Path(text)
    assert isinstance(location("s3://b/k"), Url)
