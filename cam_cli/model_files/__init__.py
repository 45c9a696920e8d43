"""Model files, told by their content and opened: of Keras 3, of Keras 2, and graphs of TensorFlow."""

from cam_cli.quiet import prepare_environment

prepare_environment()
