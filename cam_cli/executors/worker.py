"""Where images are explained: the loaded model with its plan, and the files that its maps become."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.decoding.image import DecodedImage, DecodeSettings
from cam_cli.engine.device import choose_device
from cam_cli.engine.explain import Explainer, Explanation, Subject
from cam_cli.executors.artefacts import Artefacts, predictions, publish_joint, publish_map
from cam_cli.executors.batch_size import BatchSizeTuner
from cam_cli.plan.cache import Cache, cache_folder
from cam_cli.plan.plan import make_plan, request_of
from cam_cli.plan.recall import recall_key
from cam_cli.results.manifest import JointRecord
from cam_cli.storage.location import Location

Work = tuple[DecodedImage, tuple[int, ...]]
"""An image ready for the engine, and its targets."""


class Worker:
    """One model, opened; it explains prepared images and writes their files, and knows nothing of the other images of a run.

    Raises:
        UsageError, ModelError: as `make_plan` and `Explainer` do.
    """

    def __init__(self, config: RunConfig, root: Location) -> None:
        choose_device(config.device)
        folder = cache_folder(os.environ) if config.cache else None
        cache = Cache(folder, recall_key(config))
        self.plan = plan = make_plan(config, root, cache)
        self._explainer = Explainer(
            plan.open_model,
            plan.anatomy,
            request_of(config),
            plan.recipe.targets.count,
            config.batch,
            plan.precision,
            cache,
        )
        self._tuner = BatchSizeTuner(self._explainer, cache) if config.batch is None else None
        self._artefacts = Artefacts(config.write, config.colormap, config.opacity)
        self.decode_settings = DecodeSettings(
            plan.anatomy.input_shape[:2], plan.preprocessing, config.picture_size, config.max_pixels
        )

    @property
    def images_in_a_pass(self) -> int:
        """How many images `explain` takes at a time; less once the memory has run out."""
        return self._explainer.images_in_a_pass

    @property
    def halvings(self) -> int:
        """How often the memory ran out, so that passes were halved."""
        return self._explainer.halvings

    @property
    def rows_in_a_pass(self) -> int:
        """How many images and noisy copies the network sees at a time; less once the memory has run out."""
        return self._explainer.rows_in_a_pass

    def explain(self, batch: Sequence[Work]) -> list[Explanation]:
        """Explain a batch; the result of each image does not depend on its neighbours.

        Raises:
            Exception: whatever TensorFlow raises; then none of them is explained.
        """
        subjects = [Subject(image.x, image.sha256, self._padded(targets)) for image, targets in batch]
        return self._tuner.explain(subjects) if self._tuner else self._explainer.explain(subjects)

    def write(self, explanation: Explanation, image: DecodedImage, folder: Path) -> dict[str, Any]:
        """Write an image's files into a folder and return what its manifest says of them.

        Raises:
            OSError: a file cannot be written.
        """
        labels = self.plan.labels
        maps = tuple(publish_map(entry, image, labels, folder, self._artefacts) for entry in explanation.maps)
        joint: tuple[JointRecord, ...] = ()
        if "joint" in self._artefacts.write:
            joint = publish_joint(explanation.maps, image, labels, folder, self._artefacts.opacity)
        return {"predictions": predictions(explanation, labels), "maps": maps, "joint": joint}

    def _padded(self, targets: tuple[int, ...]) -> tuple[int, ...]:
        """Fill up to the number every image has in a pass; the engine makes one map of a class met twice."""
        return targets + targets[-1:] * (self.plan.recipe.targets.count - len(targets))
