"""Where the sound of a hit is: the source itself in an archive, a file of `listen --keep-audio` for a journal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgecap.archive.addresses import WEB, absolute, local_path, scheme_of
from edgecap.archive_search.source import Hit
from edgecap.errors import DataError, reason_of
from edgecap.live.sinks.kept_audio import KEPT, LEAD_IN, sound_key_of


@dataclass(frozen=True)
class SoundPart:
    """A stretch of a sound file."""

    address: str
    """Path or address."""
    start: float
    """Seconds."""
    end: float

    def url(self, page: Path) -> str | None:
        """What a page at the path `page` links to: relative where the file lies in the page's folder or below it, else
        file:// or the web address; None for an address that browsers cannot open. The fragment names the seconds.
        """
        fragment = f"#t={self.start:g},{self.end:g}"
        scheme = scheme_of(self.address)
        if scheme in WEB:
            return self.address.partition("#")[0] + fragment
        if scheme:
            return None
        path, folder = local_path(absolute(self.address)), page.absolute().parent
        if path.is_relative_to(folder):
            return "./" + quote(os.fsencode(path.relative_to(folder))) + fragment
        return path.as_uri() + fragment


def in_sources(hits: Sequence[Hit]) -> list[SoundPart | None]:
    """The sounds of windows of an archive."""
    return [SoundPart(hit.source, hit.start, hit.end) for hit in hits]


def in_folder(hits: Sequence[Hit], folder: Path | None) -> list[SoundPart | None]:
    """The sounds of events that `listen --keep-audio` kept in a folder; None for those that are not there.

    Raises DataError for a folder that cannot be read.
    """
    if folder is None:
        return [None] * len(hits)
    try:
        matches = [match for path in sorted(folder.iterdir()) if (match := KEPT.fullmatch(path.name))]
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({reason_of(error)}); name the folder of --keep-audio") from error
    names = {match.groups(): match[0] for match in matches}
    sounds = list[SoundPart | None]()
    for hit in hits:
        name = names.get(sound_key_of(hit.time or 0.0, hit.start, hit.source))
        start = min(LEAD_IN, hit.start)
        sounds.append(None if name is None else SoundPart(str(folder / name), start, start + hit.end - hit.start))
    return sounds
