"""One run: walk the images, explain them, and leave a record of every one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cam_cli.config import RunConfig
from cam_cli.engine.explain import Explainer, Explanation, Subject
from cam_cli.errors import ImageError, SmoothcamError
from cam_cli.images.decode import decode, read_bytes
from cam_cli.images.find import Found
from cam_cli.runs.audience import Audience
from cam_cli.runs.files import printable
from cam_cli.runs.folder import RunFolder
from cam_cli.runs.manifest import Failure, ImageRecord, JointRecord, Manifest, ModelRecord, fingerprint
from cam_cli.runs.outcome import Outcome
from cam_cli.runs.plan import Plan
from cam_cli.runs.prepare import Prepared, prepare
from cam_cli.runs.publish import Artefacts, predictions, publish_joint, publish_map


@dataclass(frozen=True)
class Timed:
    """An image on its way, with its targets, and the seconds its steps took so far."""

    image: Prepared
    targets: tuple[int, ...]
    seconds: dict[str, float]


class Execution:
    """Carries out a plan; every image ends as a manifest, and no image stops another."""

    def __init__(
        self,
        plan: Plan,
        explainer: Explainer,
        config: RunConfig,
        folder: RunFolder,
        audience: Audience,
        outcome: Outcome,
    ) -> None:
        self._plan = plan
        self._explainer = explainer
        self._config = config
        self._folder = folder
        self._audience = audience
        self._outcome = outcome
        self._artefacts = Artefacts(config.write, config.colormap, config.opacity)

    def run(self, images: Iterable[Found]) -> None:
        """Explain every image that is not done yet.

        Raises:
            SmoothcamError: the run as a whole cannot go on.
        """
        for batch in chunks(self._admitted(images), self._explainer.images_in_a_pass):
            self._explain(batch)

    def _admitted(self, images: Iterable[Found]) -> Iterator[Timed]:
        for found in images:
            if (timed := self._admit(found)) is not None:
                yield timed

    def _admit(self, found: Found) -> Timed | None:
        """Read one image and make it ready; None when it is done already or cannot be read."""
        started = time.perf_counter()
        digest: str | None = None
        try:
            data = read_bytes(found.path)
            digest = hashlib.sha256(data).hexdigest()
            targets = self._plan.targets.of(found.relative)
            done = self._folder.finished(found.relative, self._fingerprint(digest, targets))
            if done is not None:
                self._tell(done, skipped=True)
                return None
            photo = decode(data, max_pixels=self._config.max_pixels)
            network = self._plan.network
            size = network.input_shape[:2]
            image = prepare(found, digest, photo, size, network.preprocessing, self._config.picture_size)
        except (ImageError, MemoryError) as error:
            stage = error.stage if isinstance(error, ImageError) else "decode"
            self._fail(found, digest, stage, error)
            return None
        for note in photo.notes:
            self._audience.say(f"{printable(found.path)}: {note}")
        return Timed(image, targets, {"read": time.perf_counter() - started})

    def _explain(self, batch: Sequence[Timed]) -> None:
        """Explain a batch; if it fails as a whole, its images one by one, so that none pays for a neighbour."""
        started = time.perf_counter()
        subjects = [Subject(timed.image.x, timed.image.sha256, self._padded(timed.targets)) for timed in batch]
        try:
            explanations = self._explainer.explain(subjects)
        except SmoothcamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is this batch's failure, not the run's
            if len(batch) == 1:
                self._fail(batch[0].image.found, batch[0].image.sha256, "explain", error)
            else:
                for timed in batch:
                    self._explain([timed])
            return
        share = (time.perf_counter() - started) / len(batch)
        for timed, explanation in zip(batch, explanations, strict=True):
            self._publish(timed, explanation, share)

    def _publish(self, timed: Timed, explanation: Explanation, engine_seconds: float) -> None:
        started = time.perf_counter()
        image, labels = timed.image, self._plan.network.labels
        try:
            folder = self._folder.make(image.found.relative)
            maps = tuple(publish_map(entry, image, labels, folder, self._artefacts) for entry in explanation.maps)
            joint: tuple[JointRecord, ...] = ()
            if "joint" in self._config.write:
                joint = publish_joint(explanation.maps, image, labels, folder, self._config.opacity)
        except OSError as error:
            self._fail(image.found, image.sha256, "write", error)
            return
        seconds = {**timed.seconds, "explain": engine_seconds, "write": time.perf_counter() - started}
        record = ImageRecord(
            path=printable(image.found.relative),
            sha256=image.sha256,
            width=image.width,
            height=image.height,
            notes=image.notes,
        )
        manifest = self._manifest(
            record,
            timed.targets,
            status="ok",
            predictions=predictions(explanation, labels),
            maps=maps,
            joint=joint,
            timing={step: round(value, 6) for step, value in seconds.items()},
        )
        self._finish(image.found, manifest)

    def _fail(self, found: Found, digest: str | None, stage: str, error: BaseException) -> None:
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            message = error.strerror
        self._audience.warn(f"{printable(found.path)}: {message}")
        record = ImageRecord(path=printable(found.relative), sha256=digest)
        failure = Failure(stage=stage, type=type(error).__name__, message=message)
        manifest = self._manifest(record, (), status="failed", error=failure)
        self._folder_or_stop(lambda: self._folder.make(found.relative))
        self._finish(found, manifest)

    def _finish(self, found: Found, manifest: Manifest) -> None:
        self._folder_or_stop(lambda: manifest.write(self._folder.of(found.relative)))
        self._folder_or_stop(lambda: self._folder.record(manifest.row()))
        self._tell(manifest, skipped=False)

    def _folder_or_stop(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            raise SmoothcamError(
                f"cannot write to the output folder '{self._folder.path}': {error.strerror}. What is finished stays; "
                "the same command goes on from there"
            ) from error

    def _tell(self, manifest: Manifest, *, skipped: bool) -> None:
        row = manifest.row()
        self._outcome.count(row, skipped=skipped)
        self._audience.image(row, skipped=skipped)

    def _padded(self, targets: tuple[int, ...]) -> tuple[int, ...]:
        """Fill up to the number every image has in a pass; the engine makes one map of a class met twice."""
        return targets + targets[-1:] * (self._plan.targets.count - len(targets))

    def _settings(self, targets: tuple[int, ...]) -> dict[str, Any]:
        return self._plan.settings | {"targets": list(targets)} if targets else self._plan.settings

    def _fingerprint(self, digest: str, targets: tuple[int, ...]) -> str:
        return fingerprint(digest, self._plan.network.sha256, self._settings(targets))

    def _manifest(self, image: ImageRecord, targets: tuple[int, ...], **fields: Any) -> Manifest:
        network = self._plan.network
        return Manifest(
            fingerprint=self._fingerprint(image.sha256, targets) if image.sha256 else None,
            image=image,
            model=ModelRecord(name=network.name, sha256=network.sha256, input_size=network.input_shape[:2]),
            settings=self._settings(targets),
            versions=self._plan.versions,
            **fields,
        )


def chunks(items: Iterable[Timed], size: int) -> Iterator[list[Timed]]:
    """Yield `items` in lists of `size`, the last one as long as what is left."""
    chunk: list[Timed] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
