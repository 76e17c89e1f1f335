"""`edgecap pull`: gets a model from the net."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgecap.bundle.catalogue import Catalogue, built_in
from edgecap.cli.console import table, write
from edgecap.cli.getting.fetching import STALL, TOTAL, fetching
from edgecap.cli.getting.options import Insecure, Mirror, Offline, Stall, Total
from edgecap.cli.options import Json
from edgecap.util.files import to_json


def entry_names() -> list[str]:
    """Names in the catalogue, for completion."""
    return [entry.name for entry in built_in().models]


CatalogueSource = Annotated[
    str, typer.Option("--catalogue", metavar="URL|FILE", help="Another catalogue than the one in the package.")
]


def _listing(shown: Catalogue, json: bool) -> list[str]:
    """A catalogue for people, or as JSON."""
    if json:
        return [to_json(asdict(entry)) for entry in shown.models]
    cells = [(entry.name, entry.style, entry.licence.name, entry.about) for entry in shown.models]
    return table(["NAME", "STYLE", "LICENCE", "ABOUT"], [list(row) for row in cells])


def pull(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|URL]",
            autocompletion=entry_names,
            help="A name in the catalogue, OWNER/REPOSITORY of the Hugging Face hub, or the address of a bundle's "
            "folder or of a checkpoint. Without one, the catalogue is shown.",
        ),
    ] = None,
    *,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Name of the model here. [default: that of the catalogue]")
    ] = "",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Make an int8 bundle of a checkpoint: a quarter of the size, ranges from its BatchNorms."
        ),
    ] = False,
    catalogue: CatalogueSource = "",
    commercial: Annotated[
        bool, typer.Option("--commercial", help="Refuse a licence that is not known to allow commercial use.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a model of that name.")] = False,
    mirror: Mirror = "",
    offline: Offline = False,
    insecure: Insecure = False,
    stall: Stall = STALL,
    timeout: Total = TOTAL,
    json: Json = False,
) -> None:
    """Get a model, for edgecap caption --model NAME. No PyTorch is needed.

    Each file is checked by size and hash while it comes, and goes on where it stopped when you type the same again.
    Where nobody states a hash, the first download is trusted, its hash is kept, and another content is refused from
    then on. Models are put into "models" in EDGECAP_HOME, or else in ~/.local/share/edgecap; downloads into
    EDGECAP_CACHE, or else ~/.cache/edgecap.

    \b
    Examples:
      edgecap pull
      edgecap pull effb2-trm-audiocaps && edgecap caption --model effb2-trm-audiocaps rain.wav
      edgecap pull https://models.example.org/kitchen/
    """
    if what is not None:
        from edgecap.cli.getting.pull_model import pull_model

        pull_model(
            what,
            name=name,
            int8=int8,
            catalogue=catalogue,
            commercial=commercial,
            force=force,
            mirror=mirror,
            offline=offline,
            insecure=insecure,
            stall=stall,
            timeout=timeout,
            json=json,
        )
        return
    shown = built_in()
    if catalogue:
        from edgecap.pull.remote_catalogue import read_catalogue

        with fetching(mirror, offline, insecure, stall, timeout) as fetcher:
            shown = read_catalogue(catalogue, fetcher)
    for line in _listing(shown, json):
        write(line)
