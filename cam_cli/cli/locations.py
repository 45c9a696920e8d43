"""Parameters of commands that are a path or the URL of an object store."""

import os
from pathlib import Path

import click

from cam_cli.storage.location import Location, Url, location
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


class LocalRun(LocationParam):
    """The output folder of a run, on this machine."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the folder."""
        folder = super().convert(value, param, ctx)
        if isinstance(folder, Url):
            copy = {"s3": "aws s3 sync", "gs": "gcloud storage rsync -r"}[folder.protocol]
            self.fail(f"this command reads a run on this machine; copy it first: {copy} {folder} RUN", param, ctx)
        return folder
