"""Other people's catalogues, from a file or from the net."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgecap.bundle.catalogue import Catalogue, parse_catalogue
from edgecap.errors import ConfigError, DownloadError, reason_of
from edgecap.pull.cache import CacheSlot
from edgecap.pull.download import Wanted, download
from edgecap.pull.fetch import Fetcher
from edgecap.pull.places import relative
from edgecap.util.files import read_at_most
from edgecap.util.limits import MOST_CATALOGUE


def read_catalogue(source: str, fetcher: Fetcher) -> Catalogue:
    """The catalogue in a file or at an address; its newest form, else, where the net is down, the one in the cache.

    Raises ConfigError for what is no catalogue, DownloadError.
    """
    if not source.startswith(("https://", "http://")):
        try:
            with Path(source).expanduser().open("rb") as file:
                return parse_catalogue(file.read(MOST_CATALOGUE + 1), source)
        except OSError as error:
            raise ConfigError(f"the catalogue {source} cannot be read ({reason_of(error)})") from error
    catalogue = parse_catalogue(_text(source, fetcher), source)
    entries = []
    for entry in catalogue.models:
        files = [replace(item, places=[relative(source, place) for place in item.places]) for item in entry.files]
        plain = [place for item in files for place in item.places if place.startswith("http://")]
        if plain and source.startswith("https://"):
            raise ConfigError(f"the catalogue {source} leads from https to {plain[0]}; it is not used")
        entries.append(replace(entry, files=files))
    return replace(catalogue, models=entries)


def _text(url: str, fetcher: Fetcher) -> bytes:
    network, slot = fetcher.client.network, CacheSlot(url)
    network.check(url)
    with slot.locked(fetcher.notify):
        kept = slot.kept()
        if network.offline:
            if kept is None:
                raise DownloadError(f"the catalogue {url} is not in the cache, and --offline forbids to get it")
            return read_at_most(slot.data, MOST_CATALOGUE)
        try:
            wanted = Wanted(most=MOST_CATALOGUE)
            download(fetcher.client, slot, url, wanted, refresh=kept.etag if kept else "")
        except DownloadError as error:
            if kept is None:
                raise
            fetcher.notify("warning", f"{error}; the catalogue in the cache is used")
        return read_at_most(slot.data, MOST_CATALOGUE)
