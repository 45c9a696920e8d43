"""A model of several outputs, such as age and gender, as a model of the one that the user names."""

from __future__ import annotations

from typing import Any, Self

import keras
from typing_extensions import override

from cam_cli.errors import UsageError
from cam_cli.graph.trace import named_outputs


def with_output(model: keras.Model, name: str | None) -> keras.Model:
    """Return a model of the same layers that gives one output; None: the model itself.

    Args:
        model: it is not changed.
        name: of the output, as the message about several outputs lists it, or of its layer.

    Raises:
        UsageError: the model has no output of that name.
    """
    if name is None:
        return model
    if getattr(model, "_inputs_struct", None) is None:
        return OneOutput(model, name)
    outputs = named_outputs(model, model._outputs_struct)
    layers = getattr(model, "output_names", None) or ()
    if name not in outputs and name in layers and len(set(layers)) == len(outputs):
        name = dict(zip(layers, outputs, strict=True))[name]
    return keras.Model(model._inputs_struct, _output(outputs, name), name=model.name)


class OneOutput(keras.Model):
    """One output of a subclassed model; its layers have the paths that they have in that model.

    Args:
        model: the whole model.
        output: the name of the output.
    """

    def __init__(self, model: keras.Model, output: str) -> None:
        super().__init__(name=model.name)
        self.whole = model
        self.output_wanted = output
        self.built = True

    @override
    def call(self, images: Any) -> Any:
        return _output(named_outputs(self.whole, self.whole(images, training=False)), self.output_wanted)

    def _flatten_layers(self, include_self: bool = True, recursive: bool = True) -> Any:
        if include_self:
            yield self
        yield from self.whole._flatten_layers(include_self=False, recursive=recursive)

    @override
    def get_build_config(self) -> Any:
        return self.whole.get_build_config()

    @override
    def get_config(self) -> dict[str, Any]:
        return {"model": keras.saving.serialize_keras_object(self.whole), "output": self.output_wanted}

    @classmethod
    @override
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        return cls(keras.saving.deserialize_keras_object(config["model"], custom_objects), config["output"])


def _output(outputs: dict[str, Any], name: str) -> Any:
    if name not in outputs:
        raise UsageError(f"the model has no output '{name}'; it has {', '.join(map(repr, outputs))}")
    return outputs[name]
