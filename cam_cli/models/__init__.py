"""Names to networks: find, load and describe a model; model cards; labels; the bundled models."""

from cam_cli.quiet import prepare_environment

prepare_environment()
