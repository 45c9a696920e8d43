"""What the `config.json` of a `.keras` file says without loading the model."""

import json
import zipfile
from pathlib import Path
from typing import Any

_MOST_BYTES = 32 * 1024**2
_WITHOUT_INNER_LAYERS = frozenset(
    {
        *(
            "InputLayer",
            "Conv2D",
            "DepthwiseConv2D",
            "SeparableConv2D",
            "Conv2DTranspose",
            "Dense",
            "BatchNormalization",
        ),
        *("LayerNormalization", "GroupNormalization", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"),
        *("MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D", "GlobalAveragePooling2D", "Flatten", "Reshape"),
        *("Dropout", "SpatialDropout2D", "GaussianNoise", "ZeroPadding2D", "Cropping2D", "UpSampling2D", "Rescaling"),
        *(
            "Normalization",
            "Resizing",
            "CenterCrop",
            "Add",
            "Subtract",
            "Multiply",
            "Average",
            "Maximum",
            "Concatenate",
        ),
        *("RandomFlip", "RandomRotation", "RandomZoom", "RandomContrast", "RandomTranslation", "Permute"),
    }
)


def layer_names(path: Path) -> frozenset[str] | None:
    """Return the names of all layers of a model; None if it has others inside them, or the file does not tell."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
            model: Any = json.loads(member.read(_MOST_BYTES))
        if model["class_name"] not in ("Functional", "Sequential"):
            return None
        layers = model["config"]["layers"]
        if any(
            layer["module"] != "keras.layers" or layer["class_name"] not in _WITHOUT_INNER_LAYERS for layer in layers
        ):
            return None
        return frozenset(str(layer["config"]["name"]) for layer in layers)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, NotImplementedError, zipfile.BadZipFile):
        return None
