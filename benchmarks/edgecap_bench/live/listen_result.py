"""What listening costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgecap_bench.reports.measurement import Measurement
from edgecap_bench.reports.tables import CRITERIA_HEADER, Criterion, Page, Sheet, digits, measured_page


@dataclass(frozen=True)
class ListenFigure:
    """One figure."""

    name: str
    value: float
    unit: str
    wanted: float
    """At most this."""
    how: str
    """What it was measured on."""

    @property
    def criterion(self) -> Criterion:
        """The figure beside what is wanted."""
        value, wanted = (f"{number} {self.unit}".strip() for number in (digits(self.value), f"{self.wanted:g}"))
        return Criterion(self.name, value, f"at most {wanted}", self.value <= self.wanted, self.how)


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Figures of `edgecap listen`."""

    FORMAT: ClassVar[str] = "edgecap-bench-listen"
    VERSION: ClassVar[int] = 1

    model: str
    precision: str
    measured: list[ListenFigure]


def listening_page(measurement: Measurement[Listening]) -> Page:
    """The figures for people."""
    listening = measurement.body
    criteria = [figure.criterion for figure in listening.measured]
    rows = [(*criterion.row, criterion.how) for criterion in criteria]
    return measured_page(
        measurement.header,
        f"Listening: {listening.model} ({listening.precision}), hop 2 s, one core",
        [Sheet("", (*CRITERIA_HEADER, "How"), rows)],
        notes=[
            "A separate PulseAudio plays the sounds, PortAudio records them through ALSA's plugin, and the listener is "
            "a process on one core."
        ],
    )
