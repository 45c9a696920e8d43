"""SavedModel folders, frozen `.pb` graphs and `.tflite` files, each brought to one frozen graph between an image and the
scores.

Nothing of such a file is run. A child process (`child`) parses it (`saved_model`, `frozen_graph`, `tflite`), keeps what the
scores are computed from (`inline`), cuts that at the image (`cut`), and refuses all but operations that compute (`allowed`)
within bounds (`bounds`). The parent (`reader`) gets the bytes of a GraphDef and a description of it, and makes a Keras model
of them (`model`), which the rest of the product explains as any other.
"""

from cam_cli.quiet import prepare_environment

prepare_environment()
