"""`smoothcam explain` as one call: from paths and settings to a finished run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from cam_cli.config import RunConfig
from cam_cli.errors import NoImagesError, UsageError
from cam_cli.images.find import Found, common_root, find_images
from cam_cli.quiet import native_chatter_silenced
from cam_cli.runs.audience import Audience
from cam_cli.runs.files import printable
from cam_cli.runs.folder import RunFolder, is_run_folder
from cam_cli.runs.outcome import Outcome
from cam_cli.runs.sheet import write_sheet


def explain_run(paths: Sequence[Path], config: RunConfig, origin: Mapping[str, str], audience: Audience) -> Outcome:
    """Explain every image below `paths` and return the counts.

    Args:
        paths: files and folders. origin: where each setting came from, for the record.

    Raises:
        UsageError: something asked for does not exist. NoImagesError: nothing matched. ModelError: the model cannot be
            explained. SmoothcamError: the output folder cannot be written to.
    """
    started = time.monotonic()
    outcome = Outcome()
    root, images = _images(paths, config, audience, outcome)
    folder = RunFolder(config.output)

    with native_chatter_silenced():  # TensorFlow starts here, after all that can fail without it
        from cam_cli.engine.explain import Explainer
        from cam_cli.runs.execute import Execution
        from cam_cli.runs.plan import make_plan, request_of

    plan = make_plan(config, root)
    for remark in plan.remarks:
        audience.say(remark)
    explainer = Explainer(plan.network.model, plan.anatomy, request_of(config), plan.targets.count)
    record = {
        "schema_version": 1,
        "root": printable(root),
        "paths": [printable(path) for path in paths],
        "settings": plan.settings,
        "config": config.model_dump(mode="json"),
        "origin": dict(origin),
        "model": {"name": plan.network.name, "sha256": plan.network.sha256},
        "versions": plan.versions,
        "started": _now(),
    }
    if (changed := folder.made_otherwise(record)) is not None:
        audience.say(f"{printable(config.output)}/ was made with {changed}; results of the same images are replaced")
    folder.describe(record | {"state": "running"})
    state = "stopped"
    try:
        Execution(plan, explainer, config, folder, audience, outcome).run(images)
        state = "finished"
    finally:
        folder.describe(record | {"state": state, "finished": _now(), "totals": outcome.totals()})
    if config.sheet:
        audience.say(write_sheet(folder, root, outcome.first_rows, outcome.images))
    audience.say(f"{outcome.summary(time.monotonic() - started)}; see {printable(config.output)}/")
    return outcome


def _images(
    paths: Sequence[Path], config: RunConfig, audience: Audience, outcome: Outcome
) -> tuple[Path, Iterator[Found]]:
    """Find the first image before the model is loaded: an empty folder should not cost a minute."""
    for path in paths:
        if not os.path.lexists(path):
            raise UsageError(f"no such file or folder: '{printable(path)}'")
    root = common_root(paths)

    def unreadable(path: Path, error: OSError) -> None:
        outcome.unreadable_folders += 1
        audience.warn(f"{printable(path)}: folder skipped: {error.strerror}")

    images = find_images(paths, root, prune=(config.output,), prune_if=is_run_folder, on_error=unreadable)
    first = next(images, None)
    if first is None and not outcome.unreadable_folders:
        listed = ", ".join(f"'{printable(path)}'" for path in paths)
        raise NoImagesError(f"no images in {listed} (looking for jpg, png, webp, gif, bmp and tiff files)")
    return root, chain([first] if first else [], images)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
