"""`python -m cam_cli`: the command line, for those who want an interpreter of their choice."""

from cam_cli.cli import main

main()
