"""Arrays to maps: the mathematics of Smooth Grad-CAM++, and the TensorFlow that feeds it. No files, no command line."""

from cam_cli.quiet import prepare_environment

prepare_environment()
