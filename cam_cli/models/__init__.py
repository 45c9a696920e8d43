"""Names to networks: model cards, class names, the input and its preprocessing, the bundled models."""

from cam_cli.quiet import prepare_environment

prepare_environment()
