"""Parse a SavedModel folder, of TensorFlow 1 or 2, without loading it: `tf.saved_model.load` would run its initialisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from cam_cli.frozen_graphs.checkpoint import variable_reader
from cam_cli.frozen_graphs.description import Choice, UnreadableError
from cam_cli.frozen_graphs.source import GraphSource

_USUAL_SIGNATURE = "serving_default"


def read_saved_model(folder: Path, choice: Choice) -> GraphSource:
    """Read the graph of a SavedModel between the ends of one signature.

    Raises:
        UnreadableError: it is damaged, or has several graphs or signatures of which none is named.
    """
    try:
        whole = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise UnreadableError("is cut short or damaged: its saved_model.pb cannot be read; copy it again") from error
    meta = _graph_to_serve(whole)
    name = _signature(meta, choice.signature)
    inputs, outputs = meta.signature_def[name].inputs, meta.signature_def[name].outputs
    nodes = {node.name: node for node in meta.graph_def.node}
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    signatures = [key for key in meta.signature_def if not key.startswith("__")]
    remarks = (f"{len(signatures)} signatures: taking '{name}' (--signature says otherwise)",)
    return GraphSource(
        nodes=nodes,
        functions=functions,
        inputs={key: info.name for key, info in inputs.items()},
        outputs={key: info.name for key, info in sorted(outputs.items())},
        variable=variable_reader(folder, nodes, functions),
        remarks=remarks if len(signatures) > 1 and choice.signature is None and not _alike(meta, signatures) else (),
    )


def _graph_to_serve(whole: Any) -> Any:
    graphs = [meta for meta in whole.meta_graphs if "serve" in meta.meta_info_def.tags] or list(whole.meta_graphs)
    if not graphs:
        raise UnreadableError("is a SavedModel without a graph")
    if len(graphs) > 1:
        # TF-Hub's modules of TensorFlow 1 hold a graph to train beside one to use, which has no tag.
        graphs = [meta for meta in graphs if not set(meta.meta_info_def.tags) - {"serve", "gpu", "cpu"}][:1] or graphs
    if len(graphs) > 1:
        tags = "; ".join(",".join(meta.meta_info_def.tags) for meta in graphs)
        raise UnreadableError(
            f"holds {len(graphs)} graphs ({tags}) and none of them to serve; export one for inference"
        )
    return graphs[0]


def _signature(meta: Any, wanted: str | None) -> str:
    known = sorted(
        key for key, signature in meta.signature_def.items() if not key.startswith("__") and signature.outputs
    )
    listed = ", ".join(map(repr, known[:12]))
    if wanted is not None:
        if wanted not in known:
            raise UnreadableError(f"has no signature '{wanted}'; it has {listed or 'none'}")
        return wanted
    if _USUAL_SIGNATURE in known:
        return _USUAL_SIGNATURE
    for usual in ("image_classification", "default", "serve", "predict"):
        if usual in known:
            return usual
    if len(known) == 1:
        return str(known[0])
    if not known:
        raise UnreadableError(
            "has no signature that says what goes in and comes out; save it again with signatures=..., or with model.export"
        )
    raise UnreadableError(f"has {len(known)} signatures: {listed}; name one with --signature")


def _alike(meta: Any, names: list[str]) -> bool:
    """Return True if all signatures have the same inputs and outputs, as those of `model.export` do."""
    ends = {(tuple(meta.signature_def[name].inputs), tuple(meta.signature_def[name].outputs)) for name in names}
    return len(ends) == 1
