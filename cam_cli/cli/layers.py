"""`smoothcam layers`."""

import json
from dataclasses import asdict
from typing import Any

import click

from cam_cli.cli.options import RunCommand, model_options, resolve_options
from cam_cli.cli.table import remark, table
from cam_cli.errors import ModelError
from cam_cli.models.source import find_source
from cam_cli.quiet import native_chatter_silenced


@click.command(cls=RunCommand)
@model_options
@click.option("--all", "everything", is_flag=True, help="Also the layers without feature maps.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each layer.")
def layers(everything: bool, as_json: bool, **options: Any) -> None:
    """List a model's layers in the order they run, and mark the one that `auto` takes.

    MODEL is a bundled name, a keras.applications name, a file or a SavedModel.

    \b
    smoothcam layers vgg16-lite
    smoothcam layers flowers.keras --json | jq -r 'select(.grid) | .path'
    """
    config = resolve_options(options).config
    source = find_source(config.model, labels=config.labels, weights=config.weights)

    with native_chatter_silenced():
        from cam_cli.graph.layers import choose_layer, describe_layers
        from cam_cli.graph.trace import trace
        from cam_cli.models.load import Overrides, load_network

    network = load_network(source, overrides=Overrides(**config.model_settings()))
    described = describe_layers(trace(network.model, network.input_shape), network.tokens)
    infos = [info for info in described if everything or info.grid is not None]
    remarks = list(network.remarks)
    try:
        auto = network.default_layer or choose_layer(described).path
    except ModelError as error:
        if not infos:
            raise
        auto = None
        remarks.append(str(error))
    for text in remarks:
        remark(text)
    if as_json:
        for info in infos:
            row = asdict(info) | {"suitability": info.suitability, "auto": info.path == auto}
            click.echo(json.dumps(row, sort_keys=True))
        return
    rows = [
        (
            "*" if info.path == auto else "",
            info.path,
            info.kind,
            "x".join(map(str, info.shape)),
            "x".join(map(str, info.grid or ())),
            info.suitability,
        )
        for info in infos
    ]
    click.echo(table(("auto", "layer", "kind", "shape", "grid", "suitability"), rows))
