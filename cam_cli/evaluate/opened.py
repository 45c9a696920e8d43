"""A run's model, opened once more as the run opened it, wherever the command is started now."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodeSettings
from cam_cli.engine.device import choose_device
from cam_cli.errors import UsageError
from cam_cli.models.applications import applications
from cam_cli.models.bundled import bundled_models
from cam_cli.models.load import Network, Overrides, load_network
from cam_cli.models.source import find_source, sha256_of
from cam_cli.plan.cache import Cache, cache_folder
from cam_cli.plan.plan import PlanInputs
from cam_cli.results.reader import RunReader
from cam_cli.text import from_printable, shown


@dataclass(frozen=True)
class OpenedModel:
    """The model of a run, with the settings of that run, its paths as they are now.

    precision: what the run's products were computed in, `float32` or `bfloat16`.
    """

    config: RunConfig
    network: Network
    precision: str

    @property
    def decode_settings(self) -> DecodeSettings:
        """How photos become inputs, and stay as they were read beside."""
        return DecodeSettings(self.network.input_shape[:2], self.network.preprocessing, None, self.config.max_pixels)

    def cache(self) -> Cache:
        """Return where the run keeps its traced graphs, which are the same here."""
        return Cache(cache_folder(os.environ) if self.config.cache else None, PlanInputs.of(self.config, Path()).key)


def open_model_of(run: RunReader, model: str | None = None, *, unsafe_lambda: bool = False) -> OpenedModel:
    """Open a run's model.

    A relative path is looked up from here and from where the run was started; the file with the recorded sha256 counts.

    Args:
        model: what to open instead of what run.json names, where the file has moved. unsafe_lambda: run code from the model
            file; what run.json says of that does not count, as a run folder may come from anywhere.

    Raises:
        UsageError: run.json does not say how the model was opened, its file is not there, or it is another one now.
        ModelError, ConfigError: as `load_network` does.
    """
    try:
        if run.record.model is None:
            raise ValueError("it does not name the model")
        recorded, settings = run.record.model.sha256, run.record.settings
        config = RunConfig.model_validate({**run.record.config, "unsafe_lambda": unsafe_lambda})
        precision, fed = str(settings["precision"]), settings["input"]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"run.json of {shown(run.folder)} does not say how its model was opened ({error})") from error
    started_in = Path(from_printable(run.record.cwd))
    found = config.model_copy(
        update={
            "model": _model(model or config.model, recorded, started_in, run),
            "weights": _place(config.weights, started_in),
            "labels": _place(config.labels, started_in),
        }
    )
    source = find_source(found.model, found.layers, None, found.weights)
    if source.sha256 not in (None, recorded):
        raise _another(source.chosen, run)
    choose_device("auto")
    network = load_network(found.model, found.layers, Overrides(**(found.model_settings() | {"labels": None})))
    if network.sha256 != recorded:
        raise _another(source.chosen, run)
    if _plain({"size": network.input_shape[:2], **asdict(network.preprocessing)}) != fed:
        raise UsageError(
            f"the card of {shown(source.chosen)} prepares photos otherwise than when {shown(run.folder)} was made; put that "
            "card back beside it, or run `smoothcam explain` again"
        )
    return OpenedModel(found, network, precision)


def _another(chosen: str, run: RunReader) -> UsageError:
    return UsageError(
        f"{shown(chosen)} is another model than the one {shown(run.folder)} was made with; name that one with --model, or run "
        "`smoothcam explain` again"
    )


def _model(name: str | None, recorded: str, started_in: Path, run: RunReader) -> str | None:
    """Return what opens the model: a name as it is, of a file that place where it is the recorded one."""
    if name is None or name in bundled_models():
        return name
    places = [place for place in (Path(name), started_in / name) if place.exists()]
    if not places and name.lower() not in applications():
        raise UsageError(
            f"the model of {shown(run.folder)} is not at {shown(started_in / name)} any more; say where it is with --model"
        )
    same = (str(place) for place in places if sha256_of(place) == recorded)
    return next(same, str(places[0]) if places else name)


def _place(path: Path | None, started_in: Path) -> Path | None:
    return started_in / path if path is not None and not path.exists() else path


def _plain(value: dict[str, Any]) -> Any:
    """Return a value as it comes back from a JSON file."""
    return json.loads(json.dumps(value))
