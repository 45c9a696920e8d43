"""Every error that smoothcam raises on purpose, and the exit codes of the command.

A message says what is wrong, where, and what to do next, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Every exit code of the command; a signal ends it with 128 and the number of the signal."""

    DONE = 0
    FATAL = 1
    USAGE = 2
    SOME_FAILED = 3
    NO_IMAGES = 4
    BOUND_CROSSED = 5
    LOCKED = 11


class SmoothcamError(Exception):
    """Base of all errors whose message is written for the person at the terminal."""

    exit_code = ExitCode.FATAL


class UsageError(SmoothcamError):
    """A request that cannot be met as it stands: a path, layer, filter, neuron or class that is not there."""

    exit_code = ExitCode.USAGE


class ConfigError(UsageError):
    """A setting that cannot be read; `position`, such as `run.yaml:7:3`, is printed before the message where it is known.

    mistakes: one line for each mistake that was found; the message has them all.
    """

    def __init__(self, message: str, position: str = "") -> None:
        super().__init__(f"{position}: {message}" if position else message)
        self.position = position
        self.mistakes: tuple[str, ...] = (str(self),)

    @classmethod
    def of(cls, errors: Sequence[ConfigError]) -> ConfigError:
        """Return one error for all mistakes."""
        if len(errors) == 1:
            return errors[0]
        together = cls("\n".join(map(str, errors)))
        together.position = errors[0].position
        together.mistakes = tuple(line for error in errors for line in error.mistakes)
        return together


class ModelError(SmoothcamError):
    """A model that cannot be opened, or whose layers cannot be reached."""


class UnsupportedError(SmoothcamError):
    """A runtime cannot run the passes of a model, for the reason that the message says; TensorFlow can."""


class ImageError(SmoothcamError):
    """One image that cannot be explained, which stops no other; `stage` is the step that failed (`read`, `decode`, `fit`)."""

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class NoImagesError(SmoothcamError):
    """No image was found in what the command was given."""

    exit_code = ExitCode.NO_IMAGES


class TooManyFailuresError(SmoothcamError):
    """More images failed than `max_failures` allows; the run stopped there."""


class RunLockedError(SmoothcamError):
    """Another process holds the lock of the run folder, or of the same shard."""

    exit_code = ExitCode.LOCKED
