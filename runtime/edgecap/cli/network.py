"""Options of the commands that get models, and what they make of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from edgecap.cli.console import say

if TYPE_CHECKING:
    from edgecap.pull.fetch import Fetcher

Mirror = Annotated[
    str,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Base address in place of https://huggingface.co. [default: EDGECAP_MIRROR or HF_ENDPOINT]",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network: what is in the cache, or nothing.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow http:// to other machines; hashes are still checked.")
]
Stall = Annotated[
    float, typer.Option("--stall", min=0.1, metavar="SECONDS", help="Give up a connection that is silent for so long.")
]
Total = Annotated[float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="Most time for one file.")]
STALL, TOTAL = 30.0, 3_600.0


@contextmanager
def fetching(  # noqa: PLR0917
    mirror: str, offline: bool, insecure: bool, stall: float, total: float, update: bool = False
) -> Iterator[Fetcher]:
    """Something that gets files, with a bar on the terminal. Raises ConfigError for a mirror that cannot be used."""
    from edgecap.pull.client import Client, Limits
    from edgecap.pull.fetch import Fetcher
    from edgecap.pull.places import Network
    from edgecap.util.progress import progress_bar

    network = Network(offline, mirror or os.environ.get("EDGECAP_MIRROR", ""), insecure)
    with progress_bar("getting") as bar:
        client = Client(network, Limits(stall=stall, total=total))
        yield Fetcher(client=client, notify=say, progress=bar, update=update)
