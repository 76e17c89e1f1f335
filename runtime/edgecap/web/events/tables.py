"""Events as files for other programs: a spreadsheet (CSV), Audacity (labels) and Raven (a selection table).

Audacity and Raven lay them over a recording, so their times count from the start of listening.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgecap.live.events.event import Event
from edgecap.live.sinks.files import COLUMNS, csv_line, csv_row
from edgecap.util.text import clean

RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
RAVEN_NOTES = ("Annotation", "Confidence", "Source")
SHORTEST = 0.001
"""Seconds of a selection: Raven takes none without a length."""


def csv_head() -> str:
    """The header of a table."""
    return csv_line(COLUMNS)


def csv_rows(events: Iterable[Event]) -> str:
    """Its rows."""
    return "".join(map(csv_row, events))


def audacity_labels(events: Iterable[Event]) -> str:
    """Lines of a label track: begin, end, caption."""
    return "".join(f"{event.start:.6f}\t{event.end:.6f}\t{clean(event.text)}\n" for event in events)


def raven_selections(events: Iterable[Event], sample_rate: int) -> str:
    """A selection table: each event is a selection of all frequencies up to half of `sample_rate`, hertz."""

    def lines() -> Iterator[tuple[str, ...]]:
        yield (*RAVEN, *RAVEN_NOTES)
        for number, event in enumerate(events, start=1):
            times = f"{event.start:.6f}", f"{max(event.end, event.start + SHORTEST):.6f}"
            notes = clean(event.text), f"{event.confidence:.3f}", clean(event.source)
            yield str(number), "Spectrogram 1", "1", *times, "0.0", f"{sample_rate / 2:.1f}", *notes

    return "".join("\t".join(line) + "\n" for line in lines())
