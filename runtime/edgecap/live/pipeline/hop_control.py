"""When the next window is due: a hop that grows by itself on a machine that is too slow or too hot.

A caption may take `SHARE_LIMIT` of its hop. Two in a row that take longer make the hop half as long again (or as
long as the captions need), up to `longest`; a run of captions that would fit into a third of the hop brings it
back, step by step, to the configured one. A hot board keeps at least twice the configured hop.
"""

from __future__ import annotations

SHARE_LIMIT = 0.8
SHARE_EASY = 0.35
SLOW_IN_A_ROW = 2
EASY_IN_A_ROW = 5
COOL_IN_A_ROW = 6
"""Readings, one every ten seconds, after which the board has cooled: near its limit the temperature oscillates."""
GROWTH = 1.5
LONGEST_HOP = 60.0


class HopControl:
    """The hop of one stream. Reads no clock: its caller says how much sound has come and how long captions took."""

    def __init__(self, hop: float, *, phase: float = 0.0, longest: float = LONGEST_HOP) -> None:
        """`hop` is the configured one, seconds; the first window comes `phase` seconds later."""
        self.asked = hop
        self.hop = hop
        self.late = 0
        """Hops that passed without a window because `due` was not called in time."""
        self._longest = max(hop, longest)
        self._due = hop + phase
        self._slow = self._easy = self._cool = 0
        self._hot = False

    def is_due(self, seconds: float) -> bool:
        """Whether a window is due after `seconds` of sound."""
        return seconds + 1e-9 >= self._due

    def due(self, seconds: float) -> bool:
        """Whether a window is due after `seconds` of sound; if so, the next one is a hop later."""
        if not self.is_due(seconds):
            return False
        late = int((seconds - self._due + 1e-9) // self.hop)
        self.late += late
        self._due += (late + 1) * self.hop
        return True

    @property
    def next(self) -> float:
        """Seconds of sound after which the next window is due."""
        return self._due

    def ask(self, hop: float, seconds: float) -> None:
        """Another hop is configured after `seconds` of sound."""
        self.asked, self._longest = hop, max(hop, LONGEST_HOP)
        self.hop = min(self._longest, 2.0 * hop) if self._hot else hop
        self._slow = self._easy = 0
        self._due = min(self._due, seconds + self.hop)

    def restart(self, seconds: float) -> None:
        """Begin anew after a gap: the next window is one hop away."""
        self._due = seconds + self.hop

    def restart_at(self, seconds: float) -> None:
        """The next window is due after `seconds` of sound, because a new sound has begun."""
        self._due = seconds

    def at_latest(self, seconds: float) -> None:
        """The next window is due after `seconds` of sound, if not before."""
        self._due = min(self._due, seconds)

    def caption_took(self, seconds: float) -> str:
        """Take the time of a caption, in seconds of the stream; a message for the user, or ""."""
        self._slow = self._slow + 1 if seconds > SHARE_LIMIT * self.hop else 0
        self._easy = self._easy + 1 if seconds < SHARE_EASY * self.hop else 0
        floor = 2.0 * self.asked if self._hot else self.asked
        if self._slow >= SLOW_IN_A_ROW and self.hop < self._longest:
            self._slow = 0
            self._set(min(self._longest, max(self.hop * GROWTH, seconds / SHARE_LIMIT)))
            return f"a caption takes {seconds:.1f} s, so one comes every {self.hop:.1f} s instead of {self.asked:g} s"
        if self._easy >= EASY_IN_A_ROW and self.hop > floor:
            self._easy = 0
            self._set(max(floor, self.hop / GROWTH))
            return f"captions are faster again: one every {self.hop:.1f} s"
        return ""

    def board_is(self, *, hot: bool) -> str:
        """Take a reading: whether the board is hot or throttled; a message for the user, or ""."""
        self._cool = 0 if hot else self._cool + 1
        if hot == self._hot or (not hot and self._cool < COOL_IN_A_ROW):
            return ""
        self._hot = hot
        if hot and self.hop < 2.0 * self.asked:
            self._set(2.0 * self.asked)
            return f"the board is hot, so a caption comes every {self.hop:g} s instead of {self.asked:g} s"
        return "" if hot else "the board has cooled down"

    def _set(self, hop: float) -> None:
        self._due += hop - self.hop
        self.hop = hop
