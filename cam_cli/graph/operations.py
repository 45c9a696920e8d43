"""Questions to the graph of a traced model."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

from cam_cli.graph.grouped import runnable

_OF_SHAPE_ALONE = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}
"""Operations whose output does not depend on the values of their input."""

_LEARNED = {
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2",
    "BatchMatMulV3", "Einsum",
}  # fmt: skip
_RANDOM = {
    "RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "ParameterizedTruncatedNormal",
    "RandomGamma", "RandomPoissonV2", "RandomShuffle", "Multinomial", "RngReadAndSkip", "RngSkip",
    "StatefulStandardNormalV2", "StatefulTruncatedNormal", "StatefulUniform", "StatefulUniformFullInt", "StatefulUniformInt",
}  # fmt: skip
_LARGEST_COLOUR_MATRIX = 16
"""Entries of the largest constant matrix that counts as a conversion of colours, such as the 3 x 1 of RGB to grey."""


def bottlenecks(start: tf.Tensor, end: tf.Tensor) -> set[Any]:
    """Return the references of the tensors that lie on every path from one tensor to another.

    A tensor lies on every path if (paths from the start to it) x (paths from it to the end) is the number of all paths.
    Inside a residual block there is no such tensor, because the shortcut is another path. Values of every type count, as an
    image may be cast to integers on the way, but not shapes.
    """
    operations = [op for op in end.graph.get_operations() if op.type not in _OF_SHAPE_ALONE]
    to_here = Counter({start.ref(): 1})
    for op in operations:
        for out in op.outputs:
            to_here[out.ref()] += sum(to_here[source.ref()] for source in _sources(op, out))
    from_here = Counter({end.ref(): 1})
    for op in reversed(operations):
        for out in op.outputs:
            for source in _sources(op, out):
                from_here[source.ref()] += from_here[out.ref()]
    total = to_here[end.ref()]
    return {tensor for tensor, paths in to_here.items() if paths * from_here[tensor] == total > 0}


def _sources(op: tf.Operation, output: tf.Tensor) -> Sequence[tf.Tensor]:
    """Return the inputs that an output depends on; IdentityN, which carries a custom gradient, copies each input."""
    return [op.inputs[output.value_index]] if op.type == "IdentityN" else list(op.inputs)


def operations_between(start: tf.Tensor, end: tf.Tensor) -> list[tf.Operation]:
    """Return the operations on the paths from one tensor to another, in the order in which they were traced."""
    reached = {start.ref()}
    forward = []
    for op in end.graph.get_operations():
        if op.type not in _OF_SHAPE_ALONE and any(source.ref() in reached for source in op.inputs):
            forward.append(op)
            reached.update(out.ref() for out in op.outputs)
    needed = {op.name for op in ancestors(end)}
    return [op for op in forward if op.name in needed]


def ancestors(tensor: tf.Tensor) -> Iterator[tf.Operation]:
    """Yield all operations that a tensor is computed from, its own first."""
    pending, met = [tensor.op], set[str]()
    while pending:
        op = pending.pop()
        if op.name not in met:
            met.add(op.name)
            yield op
            pending.extend(source.op for source in op.inputs)


def types_within(op: tf.Operation) -> set[str]:
    """Return the type of an operation, and those of the operations of the functions that it calls, such as a loop's body."""
    types, called = {op.type}, _functions_of(op.node_def)
    if not called:
        return types
    bodies = {function.signature.name: function for function in op.graph.as_graph_def().library.function}
    met: set[str] = set()
    while called:
        name = called.pop()
        if name in bodies and name not in met:
            met.add(name)
            for node in bodies[name].node_def:
                types.add(node.op)
                called += _functions_of(node)
    return types


def _functions_of(node: Any) -> list[str]:
    named = [value.func.name for value in node.attr.values() if value.HasField("func")]
    return named + [func.name for value in node.attr.values() for func in value.list.func]


def is_learned(op: tf.Operation) -> bool:
    """Return True for a convolution or a product with weights, also inside a loop; not for a small constant colour matrix."""
    if not types_within(op) & _LEARNED:
        return False
    return not (op.type in ("MatMul", "Einsum") and any(_is_small_constant(source) for source in op.inputs))


def _is_small_constant(tensor: tf.Tensor) -> bool:
    count = tensor.shape.num_elements()
    return (
        count is not None
        and count <= _LARGEST_COLOUR_MATRIX
        and all(op.inputs or op.type == "Const" for op in ancestors(tensor))
    )


def entries(start: tf.Tensor, end: tf.Tensor) -> list[tf.Tensor]:
    """Return the tensors in which the values of `start` enter the first convolutions or products with weights before `end`."""
    reached, found = {start.ref()}, []
    for op in operations_between(start, end):
        inside = [source for source in op.inputs if source.ref() in reached]
        if inside and is_learned(op):
            found += inside
        elif inside:
            reached.update(out.ref() for out in op.outputs)
    return list({tensor.ref(): tensor for tensor in found}.values())


def random_operations(end: tf.Tensor) -> list[str]:
    """Return the types of the operations of chance that a tensor is computed from, sorted."""
    kinds = {kind for op in ancestors(end) for kind in types_within(op)}
    return sorted(kind for kind in kinds if kind in _RANDOM or kind.startswith("StatelessRandom"))


def part_of(function: Any, tensors: Sequence[tf.Tensor], spec: tf.TensorSpec) -> Any:
    """Return a traced function that computes only some tensors of another one, from the same variables.

    Nothing else runs, such as what moves a seed on, so that its random numbers are the same each time.

    Args:
        function: a traced function whose one argument is a batch of images.
        tensors: of its graph.
        spec: of the argument.
    """
    graph = function.graph
    needed = {op.name for tensor in tensors for op in ancestors(tensor)}
    definition = tf.compat.v1.GraphDef(versions=graph.graph_def_versions)
    for op in graph.get_operations():
        if op.name in needed:
            node = definition.node.add()
            node.CopyFrom(op.node_def)
            kept = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(kept)
    if any(_functions_of(node) for node in definition.node):
        definition.library.CopyFrom(graph.as_graph_def().library)
    image, *captures = function.inputs
    given = zip(captures, function.captured_inputs, strict=True)

    @tf.function(autograph=False)
    def run(x: tf.Tensor) -> list[tf.Tensor]:
        inside = tf.compat.v1.get_default_graph()
        for variable in graph.variables:
            inside.watch_variable(variable)
        values = {
            placeholder.name: inside.capture(value) for placeholder, value in given if placeholder.op.name in needed
        }
        if image.op.name in needed:
            values[image.name] = x
        names = [tensor.name for tensor in tensors]
        return list(tf.graph_util.import_graph_def(definition, values, names, name="part"))

    return run.get_concrete_function(spec)


def evaluate(function: Any, tensors: Sequence[tf.Tensor], images: Iterable[NDArray[Any]]) -> list[list[NDArray[Any]]]:
    """Compute tensors of a traced function for some images, without tracing its model again.

    Args:
        function: a traced function whose one argument is a batch of one image.
        tensors: of its graph.
        images: (H, W, C) each.

    Returns:
        For each image the values of the tensors, for a batch of one.
    """
    part = runnable(part_of(function, tensors, tf.TensorSpec(function.inputs[0].shape, function.inputs[0].dtype)))
    return [[value.numpy() for value in part(tf.constant(x[None], tf.float32))] for x in images]
