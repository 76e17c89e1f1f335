"""A captioner's answers, and how token ids become the text in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecap.in_words import in_words

if TYPE_CHECKING:
    from edgecap.bundle.manifest import VocabularySpec

CLITICS = {"'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m"}
"""Endings that the tokenizer cuts off a word."""
JOINED_TO_THE_LEFT = frozenset({*CLITICS, ",", ".", ";", ":", "!", "?", "%", ")"})
JOINED_TO_THE_RIGHT = frozenset({"(", "$", "#"})
BRACKETS = {"-lrb-": "(", "-rrb-": ")"}
"""How the Treebank writes round brackets."""


@dataclass(frozen=True)
class Beam:
    """One hypothesis of the search."""

    text: str
    score: float
    """Mean log-probability of its tokens (natural logarithm, 0 is certainty)."""
    tokens: tuple[int, ...]
    """Token ids, the end token included where the search reached it."""


@dataclass(frozen=True)
class SoundMatch:
    """A sound that the user taught, heard in a window."""

    name: str
    """As the user wrote it: "our doorbell"."""
    identifier: str
    """Lower-case letters, digits and hyphens, unique among the taught sounds: "our-doorbell"."""
    confidence: float
    """Between 0 and 1."""
    start: float
    """Seconds from the window's beginning."""
    end: float
    """Seconds from the window's beginning."""

    def document(self) -> dict[str, object]:
        """The match for JSON."""
        return {
            "name": self.name,
            "identifier": self.identifier,
            "confidence": round(self.confidence, 3),
            "start": round(self.start, 2),
            "end": round(self.end, 2),
        }


@dataclass(frozen=True)
class Assessment:
    """What is to be thought of one caption."""

    confidence: float
    """Probability that its main source, the one that it names first, is right."""
    broad: float
    """Probability that the group of that source is, such as "an animal can be heard"."""
    general: str
    """The statement about that group; that nothing is clear, where the caption names no source."""
    unclear: str
    """What is said where not even that is probable."""

    def statement(self, text: str, least: float) -> str:
        """The caption `text` where its confidence is at least `least`, else what is as sure as that and says less."""
        if self.confidence >= least:
            return text
        return self.general if self.broad >= least else self.unclear


@dataclass(frozen=True)
class Caption:
    """The description of a sound from `start` to `end`."""

    text: str
    """One sentence in lower case, with the name of the surest taught sound; or the silence caption of the model."""
    score: float | None
    """Score of the best beam; None where the window was silent, so that the model was not run."""
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
    sounds: tuple[SoundMatch, ...] = ()
    """The taught sounds in it, surest first; empty where none was heard, or none is known."""
    assessment: Assessment | None = None
    """None for a silent window, and where the model's bundle has nothing fitted to compute it from."""

    @property
    def confidence(self) -> float | None:
        """Calibrated probability that the caption's main source is right; None without an assessment."""
        return None if self.assessment is None else self.assessment.confidence

    @property
    def model_text(self) -> str:
        """The model's own words, without the names of taught sounds."""
        return self.beams[0].text if self.beams else self.text

    def said(self, min_confidence: float) -> str:
        """The text, or a broader statement where its confidence is known and lower than that; taught sounds named."""
        if self.assessment is None:
            return self.text
        return with_name(self.assessment.statement(self.model_text, min_confidence), self.sounds)

    def document(self, **more: object) -> dict[str, object]:
        """The caption as a JSON document; `more` comes first."""
        return {
            **more,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "score": None if self.score is None else round(self.score, 6),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "level_dbfs": round(self.level_dbfs, 2),
            "silent": self.silent,
            "beams": [
                {"text": beam.text, "score": round(beam.score, 6), "tokens": list(beam.tokens)} for beam in self.beams
            ],
            **self._named(),
        }

    def _named(self) -> dict[str, object]:
        """For JSON: the taught sounds, and the sentence as it was without their names."""
        sounds = [match.document() for match in self.sounds]
        return {"model_text": self.model_text, "sounds": sounds} if sounds else {}


def with_name(text: str, sounds: Sequence[SoundMatch]) -> str:
    """A sentence in which the surest of the taught sounds, which comes first, has its name."""
    return in_words(text, sounds[0].name) if sounds else text


def sentence(tokens: Iterable[int], vocabulary: Sequence[str], spec: VocabularySpec) -> str:
    """The sentence of token ids: special tokens dropped, "man 's" as "man's", no space before a comma.

    The vocabulary's words are in lower case, as the Penn Treebank tokenizer cuts them. Raises IndexError for an id
    outside it.
    """
    special = {spec.pad, spec.start, spec.end, spec.unk}
    text, glue = "", True
    for token in tokens:
        if token in special:
            continue
        word = BRACKETS.get(vocabulary[token], vocabulary[token])
        text += word if glue or word in JOINED_TO_THE_LEFT else f" {word}"
        glue = word in JOINED_TO_THE_RIGHT
    return text
