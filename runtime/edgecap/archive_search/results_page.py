"""The hits of a search as one HTML file, with a player for each at the right second.

It has no script: the seconds are in the address of the sound (a media fragment), which browsers obey. So it works from
a folder, from a server, and under any content security policy that allows styles and media.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from edgecap._version import __version__
from edgecap.archive_search.playable import SoundPart
from edgecap.archive_search.search import SearchResults
from edgecap.archive_search.source import Hit, many, moment
from edgecap.util.html import Block, Failure, Markup, html_page
from edgecap.util.text import clean

_STYLE = """
ol { padding-left: 2.2em; } ol > li { margin: 0 0 1.2rem; }
li h2 { border: 0; margin: 0; padding: 0; font-size: 1.1rem; }
li p { margin: .15rem 0; overflow-wrap: anywhere; } audio { width: 100%; max-width: 36rem; }
"""


def results_page(
    question: str, results: SearchResults, sounds: Sequence[SoundPart | None], page: Path, unit: str
) -> str:
    """The page, to be written to the path `page`."""
    blocks: list[Block] = [f"{len(results.hits)} of {many(results.total, unit)}, the best first."]
    if not results.hits:
        blocks.append(Failure("Nothing was found."))
    items = "".join(_item(hit, sound, page) for hit, sound in zip(results.hits, sounds, strict=True))
    blocks.append(Markup(f"<main><ol>{items}</ol></main>"))
    note = (
        "Sounds are not in this file: a player opens its source, by an address relative to this page where it lies "
        "beside or below it, else by file:// or its web address. Browsers open no s3:// addresses."
    )
    return html_page(f"Search: {clean(question)}", blocks, provenance=[note, f"edgecap {__version__}"], style=_STYLE)


def _item(hit: Hit, sound: SoundPart | None, page: Path) -> str:
    figures = [
        "" if hit.time is None else moment(hit.time),
        f"{clean(hit.source)}, {hit.start:.1f} to {hit.end:.1f} s",
        "" if hit.confidence is None else f"confidence {hit.confidence:.2f}",
        f"level {hit.level:.1f} dBFS",
        "" if hit.similarity is None else f"similarity {hit.similarity:.3f}",
        ", ".join(map(clean, hit.tags)),
    ]
    url = None if sound is None else sound.url(page)
    label = escape(f"{clean(hit.caption)}, {clean(hit.source)} at {hit.start:.1f} s", quote=True)
    if url is not None:
        player = f'<audio controls="" preload="none" aria-label="{label}" src="{escape(url, quote=True)}"></audio>'
    elif sound is not None:
        player = f"<p>The sound is at {escape(clean(sound.address))}, which a browser cannot open.</p>"
    else:
        player = "<p>No sound was kept.</p>"
    text = escape("; ".join(figure for figure in figures if figure))
    return f"<li><h2>{escape(clean(hit.caption))}</h2><p>{text}</p>{player}</li>"
