"""`edgecap pull`: gets a model from the net."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgecap.bundle.catalogue import Catalogue, built_in
from edgecap.cli.console import say, table, write
from edgecap.cli.network import STALL, TOTAL, Insecure, Mirror, Offline, Stall, Total, fetching
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
    from edgecap.pull.pull import PullRequest
    from edgecap.pull.pull import pull as pull_model
    from edgecap.pull.remote_catalogue import read_catalogue

    with fetching(mirror, offline, insecure, stall, timeout) as fetcher:
        if what is None:
            shown = read_catalogue(catalogue, fetcher) if catalogue else built_in()
            for line in _listing(shown, json):
                write(line)
            return
        request = PullRequest(
            what=what,
            name=name,
            catalogue=catalogue,
            precision="int8" if int8 else "fp32",
            commercial=commercial,
            replace=force,
        )
        pulled = pull_model(request, fetcher)
    if pulled.bundle is None:
        say("note", f"{pulled.name} is there already; type: edgecap models update {pulled.name}, or pull --force")
    else:
        licence = pulled.bundle.manifest.licence
        say("note", f"{pulled.name} is under {licence.name}. {licence.notice}".rstrip())
        say("note", f"type: edgecap caption --model {pulled.name} FILE")
    document = {"name": pulled.name, "folder": str(pulled.folder), "new": pulled.bundle is not None}
    write(to_json(document) if json else str(pulled.folder))
