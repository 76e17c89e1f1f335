"""A file of a model from the first of its places that has it: from the cache, the hub's library, or the net."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from edgecap.bundle.catalogue import CatalogueFile
from edgecap.errors import DownloadError, IntegrityError
from edgecap.pull.cache import CacheSlot, Said
from edgecap.pull.client import Client
from edgecap.pull.download import NotThereError, Wanted, download
from edgecap.pull.hub import has_hub_library, hub_download
from edgecap.pull.pins import Pin, pins_file, read_pins, write_pin
from edgecap.pull.places import hub_file, shown
from edgecap.types import Notify
from edgecap.util.progress import Progress, no_progress


@dataclass(frozen=True)
class Fetched:
    """A file that has come and was checked."""

    place: str
    path: Path
    """In the cache; valid inside the `with` block."""
    sha256: str
    size: int
    revision: str
    first: bool
    """Whether nothing but the server vouches for its content, for the first time."""
    changed: bool
    """Whether its content is another than the one that was trusted before."""


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Gets files."""

    client: Client
    notify: Notify
    progress: Progress = no_progress
    update: bool = False
    """Whether to ask for newer contents, and to trust them where no catalogue states a hash."""
    use_hub_library: Callable[[], bool] = has_hub_library

    @contextmanager
    def file(self, wanted: CatalogueFile) -> Iterator[Fetched]:
        """Get one file; its place in the cache is locked inside the block.

        Raises IntegrityError for a content other than the catalogue or the pin says, DownloadError, OutputError.
        """
        pins = read_pins()
        known = [place for place in wanted.places if place in pins]
        cached = [place for place in known if not self.update and CacheSlot(place).data.is_file()]
        missing: list[str] = []
        for place in dict.fromkeys([*cached, *known, *wanted.places]):  # what is trusted already comes first
            try:
                with self._place(place, wanted) as fetched:
                    yield fetched
                    return
            except NotThereError as error:
                missing.append(str(error))
        raise NotThereError("; ".join(missing))

    def trust(self, fetched: Fetched) -> None:
        """Pin the content of a file that nothing but its server vouches for, now that a model was made of it."""
        if fetched.first or fetched.changed:
            self.notify(
                "note",
                f"nobody states a hash of {shown(fetched.place)}; its SHA-256 {fetched.sha256[:16]}… is kept in "
                f"{pins_file()}, and another content will be refused",
            )
            write_pin(fetched.place, Pin(fetched.sha256, fetched.size, f"{date.today()}"), self.notify)

    @contextmanager
    def _place(self, place: str, wanted: CatalogueFile) -> Iterator[Fetched]:
        slot, pin = CacheSlot(place), read_pins().get(place)
        expected = self._expected(wanted, pin)
        with slot.locked(self.notify):
            path, said = self._get(place, slot, expected)
            if expected.sha256 and said.sha256 != expected.sha256:
                raise IntegrityError(
                    f"{place} has the SHA-256 {said.sha256[:12]}… and {expected.source} says "
                    f"{expected.sha256[:12]}…; nothing was changed"
                )
            if said.size > expected.most:
                raise DownloadError(f"{place} has {said.size} bytes and at most {expected.most} are taken")
            yield Fetched(
                place=place,
                path=path,
                sha256=said.sha256,
                size=said.size,
                revision=said.revision,
                first=pin is None and not wanted.sha256,
                changed=pin is not None and pin.sha256 != said.sha256,
            )

    def _expected(self, wanted: CatalogueFile, pin: Pin | None) -> Wanted:
        if wanted.sha256:
            return Wanted(size=wanted.size, sha256=wanted.sha256, most=wanted.most)
        if pin and not self.update:
            source = f"pins.json since {pin.since} (to trust the new content: edgecap models update)"
            return Wanted(size=pin.size, sha256=pin.sha256, most=wanted.most, source=source)
        return Wanted(size=wanted.size, most=wanted.most)

    def _get(self, place: str, slot: CacheSlot, expected: Wanted) -> tuple[Path, Said]:
        """The file and what is known of it: from the cache unless that has another content or news are asked for."""
        network = self.client.network
        kept = slot.kept()
        usable = kept is not None and expected.sha256 in {None, kept.sha256}
        if kept and usable and (network.offline or not self.update):
            return slot.data, kept
        hub = hub_file(place) if place.startswith("hf:") else None
        library = hub is not None and not network.mirror and self.use_hub_library()
        if hub and library:
            return hub_download(hub, network.endpoint, expected, offline=network.offline)
        if network.offline:
            raise NotThereError(f"{place} is not in the cache, and --offline forbids to get it")
        refresh = kept.etag if kept and usable and self.update else ""
        url = network.url(place)
        said = download(self.client, slot, url, expected, refresh=refresh, progress=self.progress)
        return slot.data, said
