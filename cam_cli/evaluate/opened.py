"""A run's model, opened again as the run opened it, wherever the command is started now."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from cam_cli.config import RunConfig
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
    """The model of a run, its settings with the paths as they are now, and its precision, `float32` or `bfloat16`."""

    config: RunConfig
    network: Network
    precision: str

    def cache(self) -> Cache:
        """Return where the run keeps its traced graphs, which are the same here."""
        key = PlanInputs.of(self.config, Path()).network_key
        return Cache(cache_folder(os.environ) if self.config.cache else None, key)


def open_model_of(
    run: RunReader, model: str | None = None, *, unsafe_lambda: bool = False, imports: tuple[str, ...] = ()
) -> OpenedModel:
    """Open the model of a finished run.

    A relative path is looked up from here and from the folder where the run was started; the file with the recorded sha256
    counts. What run.json says of code in the model file and of modules to import does not count, as a run folder may come from
    anywhere.

    Args:
        model: what to open instead of what run.json names, if the file has moved.
        unsafe_lambda: run code from the model file.
        imports: installed modules whose layers the model has.

    Raises:
        UsageError: run.json does not say how the model was opened, its file is not there, or it is another one now.
        ModelError, ConfigError: as `load_network` does.
    """
    try:
        if run.record.model is None:
            raise ValueError("it does not name the model")
        recorded = run.record.model.sha256
        config = RunConfig.model_validate({**run.record.config, "unsafe_lambda": unsafe_lambda, "imports": imports})
        precision, fed = str(run.record.settings["precision"]), run.record.settings["input"]
        started_in = Path(from_printable(run.record.cwd))
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"run.json of {shown(run.folder)} does not say how its model was opened ({error})") from error
    moved = {
        "model": _model(model or config.model, recorded, started_in, run),
        "weights": _path(config.weights, started_in),
        "labels": _path(config.labels, started_in),
    }
    config = config.model_copy(update=moved)
    source = find_source(config.model, config.layers, None, config.weights)
    network = None
    if source.sha256 in (None, recorded):
        choose_device("auto")
        network = load_network(source, overrides=Overrides(**(config.model_settings() | {"labels": None})))
    if network is None or network.sha256 != recorded:
        raise UsageError(
            f"{shown(source.chosen)} is another model than the one {shown(run.folder)} was made with; name that one with "
            "--model, or run `smoothcam explain` again"
        )
    if json.loads(json.dumps({"size": network.input_shape[:2], **asdict(network.preprocessing)})) != fed:
        raise UsageError(
            f"the card of {shown(source.chosen)} prepares images otherwise than when {shown(run.folder)} was made; put that "
            "card back beside it, or run `smoothcam explain` again"
        )
    return OpenedModel(config, network, precision)


def _model(name: str | None, recorded: str, started_in: Path, run: RunReader) -> str | None:
    """Return what opens the model: a name as it is; of a file, the path where it is the recorded one."""
    if name is None or name in bundled_models():
        return name
    paths = [path for path in (Path(name), started_in / name) if path.exists()]
    if not paths and name.lower() not in applications():
        raise UsageError(
            f"the model of {shown(run.folder)} is not at {shown(started_in / name)} any more; say where it is with --model"
        )
    same = (str(path) for path in paths if sha256_of(path) == recorded)
    return next(same, str(paths[0]) if paths else name)


def _path(path: Path | None, started_in: Path) -> Path | None:
    return started_in / path if path is not None and not path.exists() else path
