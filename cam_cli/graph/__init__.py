"""Questions to the traced graph of a network: its layers, their grids, what its input and output are, what it needs."""

from cam_cli.quiet import prepare_environment

prepare_environment()
