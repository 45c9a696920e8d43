"""Everything smoothcam raises on purpose, and the exit code each kind ends the command with.

    SmoothcamError            1   something fatal that no other kind describes
    ├── UsageError            2   what was asked cannot be: a path, layer, filter, neuron or class
    │   └── ConfigError       2   a value in a YAML file, the environment or a flag, with its position
    ├── ModelError            1   a model that cannot be opened or explained
    ├── ImageError            3   one image that cannot be read; becomes a record and stops no other image
    ├── NoImagesError         4   nothing matched
    ├── TooManyFailuresError  1   more images failed than the run was allowed
    └── RunLockedError       11   another process is at work in the same run folder

A message says what is wrong, where, and what to do next, in one line.
"""

from __future__ import annotations


class SmoothcamError(Exception):
    """Base of all errors whose message is written for the person at the terminal."""

    exit_code = 1


class UsageError(SmoothcamError):
    """A request that cannot be met as it stands."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting that cannot be read; `position` says where it stands, such as `run.yaml:7:3`.

    Args:
        message: what is wrong and what to do.
        position: where the value came from; printed before the message when not empty.
    """

    def __init__(self, message: str, position: str = "") -> None:
        super().__init__(f"{position}: {message}" if position else message)
        self.position = position


class ModelError(SmoothcamError):
    """A model that cannot be opened, or whose layers cannot be reached."""


class ImageError(SmoothcamError):
    """One image that cannot be explained; `stage` is the step that failed (`read`, `decode`, `fit`)."""

    exit_code = 3

    def __init__(self, message: str, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class NoImagesError(SmoothcamError):
    """No image was found in what the command was given."""

    exit_code = 4


class TooManyFailuresError(SmoothcamError):
    """More images failed than `max_failures` allows; the run stopped there."""


class RunLockedError(SmoothcamError):
    """Another process holds the lock of the run folder, or of the same shard."""

    exit_code = 11
