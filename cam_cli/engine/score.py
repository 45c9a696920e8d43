"""The score S_c as a differentiable function of images, with the ReLU rules of guided backpropagation and deconvnet."""

from __future__ import annotations

from enum import StrEnum

import keras
import tensorflow as tf

from cam_cli.engine.link import Link
from cam_cli.engine.scores import find_link, scores_of
from cam_cli.errors import UsageError
from cam_cli.graph.trace import concrete_function, run_model, trace


class ReluRule(StrEnum):
    """The gradient that a ReLU z = max(x, 0) passes on, given dS/dz = g; the values name the registered gradients."""

    TRUE = ""  # g where x > 0
    GUIDED = "SmoothcamGuidedRelu"  # ReLU(g) where x > 0   (Springenberg et al. 2014, arXiv 1412.6806)
    DECONV = "SmoothcamDeconvRelu"  # ReLU(g)               (Zeiler and Fergus 2013, arXiv 1311.2901)


_RELUS = ("Relu", "Relu6")


@tf.RegisterGradient(ReluRule.GUIDED.value)
def _guided(op: tf.Operation, g: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(g) * tf.cast(op.inputs[0] > 0, g.dtype)


@tf.RegisterGradient(ReluRule.DECONV.value)
def _deconv(_op: tf.Operation, g: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(g)


class LogitScore:
    """The score of one class for each image: the logit, also if the model ends in softmax or sigmoid (see `scores.Link`).

    The ReLU rule is applied to the operations of the traced graph. So it reaches every ReLU, however it was written and however
    deep it is nested, without a copy or a change of the model.

    Args:
        model: any Keras 3 classifier; it is traced, never changed.
        input_shape: (H, W, C).
        rule: how gradients pass its ReLUs.
        link: how the model's output is computed from its scores; found if None.

    Raises:
        ModelError: the model does not take a batch of such images, or gives no class scores.
        UsageError: a rule other than `TRUE` for a model whose ReLUs it cannot reach.
    """

    def __init__(
        self,
        model: keras.Model,
        input_shape: tuple[int, int, int],
        rule: ReluRule = ReluRule.TRUE,
        link: Link | None = None,
    ) -> None:
        link = link or find_link(trace(model, input_shape))
        overrides = dict.fromkeys(_RELUS, rule.value) if rule else {}
        self._model = model  # a traced function does not keep its variables

        @tf.function(autograph=False)
        def run(x: tf.Tensor, one_hot: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.compat.v1.get_default_graph().gradient_override_map(overrides):
                output = run_model(model, x)
                all_scores = tf.cast(scores_of(output, link), tf.float32)
            return tf.reduce_sum(all_scores * one_hot, axis=-1), all_scores

        images, scores = tf.TensorSpec((None, *input_shape), tf.float32), tf.TensorSpec((None, None), tf.float32)
        self._run = concrete_function(run, f"a batch of images of shape {input_shape}", images, scores)
        self.classes = int(self._run.structured_outputs[1].shape[-1])
        if not rule:
            return
        graph, name = self._run.graph, "guided-backprop" if rule is ReluRule.GUIDED else "deconvnet"
        if any(node.op in _RELUS for function in graph.as_graph_def().library.function for node in function.node_def):
            raise UsageError(
                f"{name} cannot reach the model's ReLUs: they run inside a compiled function. Use another method"
            )
        if not any(op.type in _RELUS for op in graph.get_operations()):
            raise UsageError(
                f"{name} changes how gradients pass ReLUs, and this model has none. Use integrated-gradients"
            )

    @property
    def graph(self) -> tf.Graph:
        """The graph that computes the scores."""
        return self._run.graph

    def __call__(self, _model: object, x: tf.Tensor, one_hot: tf.Tensor) -> tf.Tensor:
        """Return the scores, (N,) float32, of images (N, H, W, C) float32 for one-hot rows (N, classes) float32.

        The first argument is the model that xplique passes to its operators.
        """
        return self._run(x, one_hot)[0]
