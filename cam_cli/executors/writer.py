"""The files of an explained image, written into a staging folder, and the manifest, which is written last."""

import time
from dataclasses import dataclass

from cam_cli.config import RunConfig
from cam_cli.engine.request import Explanation
from cam_cli.errors import ImageError
from cam_cli.executors.artefacts import caption, predictions, publish_joint, publish_map, true_classes
from cam_cli.executors.executor import Ready, Result
from cam_cli.models.labels import Labels
from cam_cli.plan.plan import Plan
from cam_cli.results.manifest import ImageRecord
from cam_cli.results.store import ResultStore
from cam_cli.text import printable


@dataclass(frozen=True)
class Writer:
    """Writes the files of explained images; for any thread, and for any process that sees the folder of results."""

    store: ResultStore
    plan: Plan
    labels: Labels
    config: RunConfig

    def write(self, ready: Ready, explanation: Explanation, seconds: float) -> Result:
        """Write all files of an image into a new staging folder, the manifest last, and send them on their way.

        They are written once more if somebody removes the staging folder meanwhile. seconds: the share of the image in the
        time of its pass. Raises SmoothcamError if nothing can be written.
        """
        try:
            with self.store.writing():
                try:
                    return self._write(ready, explanation, seconds)
                except FileNotFoundError:
                    return self._write(ready, explanation, seconds)
        except ImageError as error:
            return ready.failed(error)

    def _write(self, ready: Ready, explanation: Explanation, seconds: float) -> Result:
        task, image = ready.task, ready.image
        staged = self.store.stage()
        started = time.perf_counter()
        maps = []
        for entry in explanation.maps:
            text = caption(entry, explanation, task.truth, self.labels)
            maps.append(publish_map(entry, image, self.labels, text, staged, self.config))
        joint = publish_joint(explanation.maps, image, self.labels, staged, self.config)
        timing = {"read": ready.decoded.seconds, "explain": seconds, "write": time.perf_counter() - started}
        manifest = self.plan.manifest(
            ImageRecord.of(image, path=printable(task.image.relative), root=printable(task.image.root)),
            task.targets,
            task.truth,
            true_classes(explanation, task.truth, self.labels),
            predictions(explanation, self.labels, multi_label=self.plan.model.multi_label),
            status="ok",
            timing={step: round(value, 6) for step, value in timing.items()},
            maps=tuple(maps),
            joint=joint,
            runtime=explanation.runtime,
        )
        manifest.write(staged)
        self.store.send(staged, task.image.relative)
        return Result(task, ready.decoded.source, image.sha256, image.notes, manifest=manifest, staged=staged)
