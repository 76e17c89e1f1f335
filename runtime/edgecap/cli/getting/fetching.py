"""What gets files for the commands that get models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgecap.cli.console import say

if TYPE_CHECKING:
    from edgecap.pull.fetch import Fetcher

STALL, TOTAL = 30.0, 3_600.0
"""Seconds: of a connection that is silent, and of one file."""


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
