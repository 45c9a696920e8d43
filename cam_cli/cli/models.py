"""`smoothcam models`."""

import json
import textwrap

import click

from cam_cli.errors import UsageError
from cam_cli.quiet import native_chatter_silenced
from cam_cli.text import near


@click.command()
@click.argument("name", required=False, metavar="[MODEL]")
@click.option("--labels", "of", metavar="MODEL", help="The same as MODEL: list this bundled model's classes.")
@click.option("--applications", is_flag=True, help="List the names of keras.applications that --model takes.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each model, class or name.")
def models(name: str | None, of: str | None, applications: bool, as_json: bool) -> None:
    """List the bundled models: what they are, where they come from, and under which licence.

    With MODEL, the name of a bundled one, list its classes: index, WordNet id and names.

    \b
    smoothcam models
    smoothcam models vgg16-lite | grep -i shepherd
    """
    of = name or of
    if applications:
        with native_chatter_silenced():
            from cam_cli.models import applications as known
        for application in known.applications():
            click.echo(json.dumps({"name": application}) if as_json else application)
        return

    from cam_cli.models.bundled import bundled_models
    from cam_cli.models.card import read_card
    from cam_cli.models.labels import read_labels

    cards = {bundled: read_card(path.with_suffix(".yaml")) for bundled, path in bundled_models().items()}
    if of is not None:
        if of not in cards:
            raise UsageError(f"no bundled model '{of}'{near(of, cards)}; there are {', '.join(cards)}")
        labels = cards[of].labels
        for entry in read_labels(labels).entries if labels else ():
            row = {"index": entry.index, "wnid": entry.wnid, "name": entry.name, "synonyms": entry.synonyms}
            names = ", ".join(entry.synonyms or (entry.name,))
            click.echo(json.dumps(row, sort_keys=True) if as_json else f"{entry.index}\t{entry.wnid}\t{names}")
        return
    for bundled, card in cards.items():
        if as_json:
            click.echo(json.dumps(card.model_dump(mode="json", exclude={"labels"}), sort_keys=True))
            continue
        click.echo(f"{bundled}  (default layer {card.layer})")
        for text in (card.summary, f"Licence: {card.licence}.", f"Source: {card.source}."):
            click.echo(textwrap.fill(text, 100, initial_indent="    ", subsequent_indent="    "))
