"""What became of the rounds of each fault, as a result file and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import ClassVar

from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import Criterion, Page, Sheet, measured_page, verdict

BACK_SECONDS = 5.0
HEADER = ("Fault", "Rounds survived", "Lost", "Doubled", "Back after", "Told", "Kept")


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a fault."""

    survived: bool
    """Whether nothing was lost, doubled or misdated, the listener is there, and announced another event."""
    lost: int = 0
    doubled: int = 0
    misdated: int = 0
    reported: bool = False
    """Whether the listener said what it should, or should say nothing."""
    ended: bool = False
    """Whether the listener ended although the fault does not end it, and was started again."""
    back: float | None = None
    """Seconds until all that was announced is stored and the next event is announced; None where that did not come."""


@dataclass(frozen=True, kw_only=True)
class FaultResult:
    """All rounds of one fault."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    says: str = ""
    """What the listener should say."""
    skipped: str = ""
    """Why this fault cannot be made here; empty where it was."""
    failures: int = 0
    """Times that no event came to begin a round with; after a round that also is one that was not survived."""

    def total(self, what: str) -> int:
        """Sum of a field of all rounds."""
        return sum(getattr(each, what) for each in self.rounds)

    @property
    def back(self) -> list[float]:
        """Seconds of the rounds after which the listener came back."""
        return [each.back for each in self.rounds if each.back is not None]

    @property
    def late(self) -> int:
        """Rounds after which it came back later than wanted."""
        return sum(seconds > BACK_SECONDS for seconds in self.back)

    @property
    def kept(self) -> bool:
        """Whether every round was survived soon and with the reason."""
        all_reported = self.total("reported") == len(self.rounds)
        return bool(self.rounds) and self.total("survived") == len(self.rounds) and not self.late and all_reported

    def criterion(self) -> Criterion:
        """A line for people."""
        if self.skipped:
            return Criterion(self.name, f"left out: {self.skipped}", "", True)
        text = f"{self.total('survived')} of {len(self.rounds)} survived, {self.total('lost')} lost, "
        text += f"{self.total('doubled')} doubled, back {self._back()}"
        for what in ("misdated", "ended"):
            text += f", {self.total(what)} {what}" if self.total(what) else ""
        text += f", {self.failures} times no event came before" if self.failures else ""
        text += f", told {self.total('reported')} times" if self.says else ""
        return Criterion(self.name, text, "all, none lost or doubled, within 5 s, with the reason", self.kept)

    def row(self) -> tuple[str, ...]:
        """A row of a table under `HEADER`."""
        if self.skipped:
            return self.name, f"left out: {self.skipped}", *[""] * (len(HEADER) - 2)
        ended = f" ({self.total('ended')} times started again)" if self.total("ended") else ""
        doubled = f"{self.total('doubled')}" + (
            f" ({self.total('misdated')} misdated)" if self.total("misdated") else ""
        )
        reported = f"{self.total('reported')}" if self.says else ""
        survived = f"{self.total('survived')} of {len(self.rounds)}{ended}"
        return self.name, survived, f"{self.total('lost')}", doubled, self._back(), reported, verdict(self.kept)

    def _back(self) -> str:
        if not self.back:
            return "never"
        late = f", {self.late} later than {BACK_SECONDS:g} s" if self.late else ""
        return f"{median(self.back):.1f} s, at most {max(self.back):.1f} s{late}"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """One run of the faults."""

    FORMAT: ClassVar[str] = "edgecap-bench-faults"
    VERSION: ClassVar[int] = 1

    faults: list[FaultResult]
    jobs: int
    """Listeners side by side."""
    others: float | None
    """Cores that other programs took meanwhile; None where that is not known."""


def load_note(others: float | None) -> str:
    """What other programs took, for a page: it lengthens times, and loses no event."""
    if others is None:
        return "It is not known what other programs took meanwhile."
    busy = "a busy machine, on which times are longer" if others > 0.1 else "an idle machine"
    return f"Other programs took {others:.2f} cores meanwhile: {busy}."


def faults_page(measurement: Measurement[Faults]) -> Page:
    """The run for people."""
    result = measurement.body
    return measured_page(
        measurement.header,
        "Faults while a listener runs",
        [Sheet("", HEADER, [each.row() for each in result.faults])],
        notes=[
            f"Each round at a random moment, {result.jobs} listeners side by side, four times as fast as time. An "
            "event counts as lost where it was announced and the journal lacks it, or ended and the table lacks it.",
            "Back means that all is stored and the next event, of a sound every 3 s (of a microphone every 5 s of real "
            f"time), is announced; at most {BACK_SECONDS:g} s are wanted, start included. Told: in how many rounds the "
            "listener said what is wrong, or had nothing to say, as on a full disk that refused nothing.",
            "The listener's modules are compiled, as those of an installed package are.",
            load_note(result.others),
        ],
    )


def criteria(results: Sequence[FaultResult]) -> list[Criterion]:
    """What is wanted, and whether it is so."""
    return [each.criterion() for each in results]
