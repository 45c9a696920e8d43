"""Where the parts of a network come from that are not Keras's own, and what to do to have them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_EXPORT = "in the program that made it, model.export('folder') writes the whole network as a SavedModel"
_RECORDED = {"TensorFlowOpLayer"}


@dataclass(frozen=True)
class _Package:
    """A package that brings layers, and how they are told: by their module, their registered name or their class.

    advice: what to do, after "needs NAME".
    """

    name: str
    advice: str
    modules: tuple[str, ...]
    classes: frozenset[str] = frozenset()

    def has(self, entry: dict[str, Any]) -> bool:
        """Return True if an object of the description is of this package."""
        names = {str(entry.get(key)) for key in ("class_name", "registered_name")}
        owners = {name.partition(">")[0] for name in names if ">" in name}
        module = str(entry.get("module"))
        return bool(
            owners & set(self.modules)
            or any(module == own or module.startswith(f"{own}.") for own in self.modules)
            or {name.rpartition(">")[2] for name in names} & self.classes
        )


def _to_import(name: str, distribution: str) -> str:
    return f"pip install {distribution}, then --import {name}"


_PACKAGES = (
    _Package("keras_hub", _to_import("keras_hub", "keras-hub"), ("keras_hub", "keras_nlp")),
    _Package("keras_cv", _to_import("keras_cv", "keras-cv"), ("keras_cv",)),
    _Package("tensorflow_hub", _EXPORT, ("tensorflow_hub",), frozenset({"KerasLayer"})),
    _Package(
        "transformers",
        _EXPORT,
        ("transformers",),
        frozenset({"TFViTMainLayer", "TFSwinMainLayer", "TFConvNextMainLayer", "TFDeiTMainLayer", "TFRegNetMainLayer"}),
    ),
    _Package("tensorflow_addons", f"it exists for Keras 2 only; {_EXPORT}", ("tensorflow_addons", "Addons")),
    _Package(
        "tensorflow_model_optimization",
        "save the model again after strip_pruning, strip_clustering or before quantize_model",
        ("tensorflow_model_optimization",),
        frozenset({"QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer", "PruneLowMagnitude", "ClusterWeights"}),
    ),
    _Package(
        "vit_keras",
        f"it exists for Keras 2 only; {_EXPORT}",
        ("vit_keras",),
        frozenset({"ClassToken", "AddPositionEmbs", "MultiHeadSelfAttention", "TransformerBlock"}),
    ),
    _Package(
        "Keras 2 (tf_keras)",
        f"Keras 3 has no such class; {_EXPORT}",
        ("tf_keras", "keras.engine", "keras.src.engine", "keras.saving.legacy"),
        frozenset(
            {
                "LocallyConnected1D",
                "LocallyConnected2D",
                "DenseFeatures",
                "CuDNNLSTM",
                "CuDNNGRU",
                "MaxoutDense",
                "Highway",
            }
        ),
    ),
)


def unknown_parts(strange: Sequence[dict[str, Any]]) -> str | None:
    """Return what a model file needs and what to do, given those of its objects that are not known; None if there are none."""
    if not strange:
        return None
    names = sorted({_name(entry) for entry in strange})
    listed = ", ".join(map(repr, names))
    if set(names) <= _RECORDED:
        return (
            f"holds TensorFlow operations as TensorFlow 2.0 to 2.3 recorded them ({listed}), which are not rebuilt; build the "
            "network in Keras 3 and load the weights from this file (keras.applications: --model NAME --weights FILE)"
        )
    for package in _PACKAGES:
        if any(package.has(entry) for entry in strange):
            found = ", ".join(repr(name) for name in sorted({_name(e) for e in strange if package.has(e)}))
            return f"uses {found}, which needs {package.name}: {package.advice}"
    return (
        f"uses {listed}, which no network of Keras consists of; if it is your own, put it into a module that can be imported "
        "and say --import MODULE, or load the model in Python and call cam_cli.explain(model, images)"
    )


def _name(entry: dict[str, Any]) -> str:
    inner = entry.get("config")
    return inner if entry["class_name"] == "function" and isinstance(inner, str) else str(entry["class_name"])
