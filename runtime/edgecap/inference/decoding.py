"""Greedy and beam search over any decoder that can take one step, and what a graph that searches by itself gives.

Knows nothing about graphs, caches or words: a `DecodeStep` gives log-probabilities, this module
chooses tokens. The scoring is the published student's (Xu et al. 2024, the authors' code):

- live beams compete on the plain sum of their log-probabilities;
- the first step expands only the first row, since all rows are still equal;
- a beam that emits the end token becomes a hypothesis with score sum / tokens (the end token counts)
  and its running sum is set to -1000, which takes it out of the competition;
- the search stops when exactly `beam` hypotheses are finished after a step (two finishing at once can
  jump over that number), else at `max_tokens`, where the unfinished ones are admitted too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import BundleError

FINISHED_SUM = np.float32(-1000.0)
"""Running sum of a beam that has ended; the published value."""

_AGAIN = "the model is broken, export or import it again"
_NO_NUMBERS = f"the decoder gives log-probabilities that are not numbers; {_AGAIN}"


@dataclass(frozen=True)
class Hypothesis:
    """One finished sequence of tokens."""

    tokens: tuple[int, ...]
    """Token ids after the start token; the last one is the end token where the search reached it."""
    score: float
    """Mean log-probability of the tokens (natural logarithm)."""
    log_probs: tuple[float, ...] = ()
    """Log-probability of each token, as many as `tokens`; empty where a graph searched."""


class DecodeStep(Protocol):
    """One step of a decoder for all beams at once."""

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-probabilities of the next token, shape (beams, vocabulary), float32.

        `tokens` (beams,) are the tokens at `position`; row i continues row `parents[i]` of the call
        before, so a decoder with a cache reorders it first. At position 0 the cache is empty and
        `parents` means nothing. The array may be overwritten by the next call.
        """
        ...


def beam_search(decode: DecodeStep, *, beam: int, max_tokens: int, start: int, end: int) -> list[Hypothesis]:
    """Search for the best captions, best first; a beam of 1 is greedy search.

    The list holds at least one hypothesis and can be longer than `beam`. Ties of sums go to the lower row, then to the
    lower token id. Raises ValueError for a beam or a limit below 1, BundleError for log-probabilities that are NaN or
    infinite, and for fewer words than beams.
    """
    if beam < 1 or max_tokens < 1:
        raise ValueError(f"beam and max_tokens must be at least 1, not {beam} and {max_tokens}")
    tokens, parents = np.full(beam, start, np.int64), np.zeros(beam, np.int64)
    sums = np.zeros(beam, np.float32)
    totals = np.empty((0, 0), np.float32)
    sequences: list[tuple[int, ...]] = [()] * beam
    histories: list[tuple[float, ...]] = [()] * beam
    alive = [True] * beam
    hypotheses: list[Hypothesis] = []
    finished = 0
    for position in range(max_tokens):
        log_probs = decode(tokens, position, parents)
        if position == 0:
            best = _best(log_probs[:1].copy(), beam)
        else:
            if totals.size == 0:  # the same memory in each step
                totals = np.empty_like(log_probs)
            best = _best(np.add(log_probs, sums[:, None], out=totals), beam)
        sums = np.array([total for total, _, _ in best], np.float32)
        parents, tokens = (np.array([each[part] for each in best], np.int64) for part in (1, 2))
        sequences = [(*sequences[row], token) for _, row, token in best]
        histories = [(*histories[row], float(log_probs[row, token])) for _, row, token in best]
        alive = [alive[row] for _, row, _ in best]
        for row, (_, _, token) in enumerate(best):
            if token != end and position + 1 < max_tokens:
                continue
            finished += 1
            if alive[row]:  # tokens after an end token count for the stop rule, as published, but are no caption
                hypotheses.append(Hypothesis(sequences[row], float(sums[row]) / (position + 1), histories[row]))
            sums[row], alive[row] = FINISHED_SUM, False
        if finished == beam or not any(alive):
            break
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def hypotheses(tokens: NDArray[np.int64], scores: NDArray[np.float32], end: int, words: int) -> list[Hypothesis]:
    """What a graph with the search inside gives for one clip: `tokens` (beams, max_tokens), `scores` (beams,).

    A sequence goes up to its first `end`, or to the last place; a score of minus infinity stands for no hypothesis.
    Raises BundleError where none is a number, and for a token that is none of the `words` of the vocabulary.
    """
    rows: list[list[int]] = tokens.tolist()
    if any(not 0 <= token < words for row in rows for token in row):
        raise BundleError(f"the decoder gives words that the vocabulary of {words} does not have; {_AGAIN}")
    kept = [
        Hypothesis(tuple(row[: row.index(end) + 1] if end in row else row), score)
        for row, score in zip(rows, scores.tolist(), strict=True)
        if math.isfinite(score)
    ]
    if not kept:
        raise BundleError(_NO_NUMBERS)
    return kept


def _best(totals: NDArray[np.float32], count: int) -> list[tuple[float, int, int]]:
    """The `count` highest entries of `totals` (overwritten), highest first: value, row, column.

    A few passes of argmax beat a partition here: beams are few and argmax is vectorised.
    """
    flat, columns = totals.reshape(-1), totals.shape[1]
    if flat.size < count:
        raise BundleError(f"a vocabulary of {columns} words is too small for {count} beams; use a smaller --beam")
    best = []
    for _ in range(count):
        place = int(flat.argmax())
        best.append((float(flat[place]), *divmod(place, columns)))
        flat[place] = -np.inf
    if not math.isfinite(best[0][0]) or any(math.isnan(value) for value, _, _ in best):
        raise BundleError(_NO_NUMBERS)
    return best
