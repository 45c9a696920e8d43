"""`Normalization` layers compute with values made of their weights, which Keras does not always make anew after loading."""

import keras


def apply_loaded_statistics(model: keras.Model) -> None:
    """Make every `Normalization` layer of a model, at any depth and in wrappers, compute with its present weights."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
