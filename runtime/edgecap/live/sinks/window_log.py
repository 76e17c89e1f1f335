"""A line for each window: level, gate, and the best captions with their scores (--hearing)."""

from __future__ import annotations

from collections.abc import Callable

from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks.base import Sink
from edgecap.util.files import to_json

BEAMS = 3


class WindowLog(Sink):
    """Logs every window, whether it becomes part of an event or not; with `as_json` as objects of kind "window"."""

    def __init__(self, write: Callable[[str], None], *, as_json: bool = False) -> None:
        self._write, self._json = write, as_json
        self._seen: dict[int, tuple[int, int]] = {}

    def on_status(self, status: StatusSnapshot) -> None:
        """Log the window, where it is a new one."""
        seen = (status.captions, status.quiet)
        if seen == self._seen.get(status.number, (0, 0)):
            return
        captioned = status.captions > self._seen.get(status.number, (0, 0))[0]
        self._seen[status.number] = seen
        beams = status.beams[:BEAMS] if captioned else ()
        self._write(to_json(document(status, beams)) if self._json else line(status, beams))


def document(status: StatusSnapshot, beams: tuple[tuple[str, float], ...]) -> dict[str, object]:
    """A window for programs."""
    return {
        "kind": "window",
        "source": status.source,
        "end": round(status.heard, 3),
        "level_dbfs": round(status.level, 1),
        "loudest_dbfs": round(status.loudest, 1),
        "floor_dbfs": None if status.floor is None else round(status.floor, 1),
        "gate_open": status.gate_open,
        "beams": [{"text": text, "score": round(score, 4)} for text, score in beams],
        "fault": status.fault,
        "audio_kept": bool(status.audio_kept),
    }


def line(status: StatusSnapshot, beams: tuple[tuple[str, float], ...]) -> str:
    """A window for people."""
    floor = "" if status.floor is None else f" (floor {status.floor:.0f})"
    gate = "open " if status.gate_open else "quiet"
    said = "  |  ".join(f"{score:.2f} {text}" for text, score in beams) or (status.fault or "-")
    return f"{status.source}  {status.level:6.1f} dBFS{floor}  gate {gate}  {said}"
