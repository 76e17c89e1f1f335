"""What a captioner answers with: values, nothing that computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Beam:
    """One hypothesis of the search."""

    text: str
    score: float
    """Mean log-probability of its tokens (natural logarithm, 0 is certainty)."""
    tokens: tuple[int, ...]
    """Token ids, the end token included where the search reached it."""


@dataclass(frozen=True)
class Caption:
    """What was heard from `start` to `end`."""

    text: str
    """One sentence in lower case, or the silence caption of the model."""
    score: float | None
    """Score of the best beam; None where the window was silent and the model not asked."""
    start: float
    """Seconds from the beginning of the sound."""
    end: float
    """Seconds from the beginning of the sound, without padding."""
    level_dbfs: float
    """RMS level of the loudest 100 ms, dB relative to full scale, at least -120."""
    silent: bool
    """Whether the level is below the model's silence threshold."""
    beams: tuple[Beam, ...]
    """The hypotheses, best first, at most as many as the beam size; empty for a silent window."""

    def document(self, **more: object) -> dict[str, object]:
        """The caption as JSON takes it; `more` comes first."""
        return {
            **more,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "score": None if self.score is None else round(self.score, 6),
            "level_dbfs": round(self.level_dbfs, 2),
            "silent": self.silent,
            "beams": [
                {"text": beam.text, "score": round(beam.score, 6), "tokens": list(beam.tokens)} for beam in self.beams
            ],
        }
