"""What a command takes for a place: a path, or the URL of what lies in a store."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cam_cli.storage.location import Location, Url, location
from cam_cli.text import escaped


class Place(click.Path):
    """A path, or a URL such as `s3://bucket/photos`; whether it is there is for the command to say."""

    def __init__(self) -> None:
        super().__init__(readable=False)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        """Return the place that was named."""
        try:
            return location(value)
        except ValueError as error:
            self.fail(f"{escaped(os.fspath(value))!r} {error}", param, ctx)


class LocalRun(Place):
    """The output folder of a run, on this machine."""

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path of the folder."""
        place = super().convert(value, param, ctx)
        if isinstance(place, Url):
            copy = {"s3": "aws s3 sync", "gs": "gcloud storage rsync -r"}[place.protocol]
            self.fail(f"this command reads a run on this machine; copy it first: {copy} {place} RUN", param, ctx)
        return place
