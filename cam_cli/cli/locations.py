"""Parameters of commands that are a path or the URL of an object store."""

import os

import click

from cam_cli.storage.location import Location, location
from cam_cli.text import escaped


class LocationParam(click.Path):
    """A path, or a URL such as `s3://bucket/images`; the command checks whether it exists."""

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        """Return the location that was named."""
        try:
            return location(value)
        except ValueError as error:
            self.fail(f"{escaped(os.fspath(value))!r} {error}", param, ctx)
