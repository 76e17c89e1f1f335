"""Parts for the tests of searches inside graphs: students whose searches meet every rule, and the search outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from edgecap.inference.decoding import Hypothesis
from edgecap.inference.session import Encoded, InferenceSession, open_session
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.runtimes import open_lowering
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student
from support.exports.exported import request, write_small_bundle
from support.small_student import WINDOW, small_student

FRAMES = WINDOW // 32
TWINS = (10, 11)
"""Two words that are always equally probable."""
Change = Callable[[Student], object]
Sessions = tuple[InferenceSession, InferenceSession]
"""The search outside, in PyTorch, and the one inside a graph."""


def ends_early(student: Student) -> None:
    """The end token wins often, at once too, so that every rule about ended beams is met."""
    student.decoder.embedding.weight[SPECIALS.end] *= 3


def twins(student: Student) -> None:
    """Ties in every step."""
    words = student.decoder.embedding.weight
    words[TWINS[0]] *= 3
    words[TWINS[1]] = words[TWINS[0]]


def sessions(folder: Path, runtime: str, change: Change) -> Sessions:
    """A changed student in PyTorch, and in `folder / "bundle"` with the search in the graph."""
    student = small_student(1)
    with torch.no_grad():
        change(student)
    asked = replace(request(), student=student, search="in-graph")
    bundle = write_small_bundle(folder / "bundle", asked, open_lowering(runtime).lower(asked), runtime)
    return TorchSession(student), open_session(bundle, 1)


def memories(count: int, seed: int = 0) -> list[Encoded]:
    """Memories of clips of different lengths."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        keys, values = random.normal(size=(2, 2, 4, FRAMES, 8)).astype(np.float32)
        made.append(Encoded(keys, values, np.zeros(24, np.float32), 1 + number % FRAMES))
    return made


def assert_same(left: list[Hypothesis], right: list[Hypothesis], beam: int) -> None:
    """The best captions and their scores are the same."""
    assert [best.tokens for best in left[:beam]] == [best.tokens for best in right[:beam]]
    np.testing.assert_allclose([best.score for best in left[:beam]], [best.score for best in right[:beam]], atol=1e-4)


def check_every_beam(both: Sessions, beam: int, count: int) -> None:
    """The captions of both searches are the same for so many clips, and the rules about ends were met."""
    more = ended = unended = 0
    for encoded in memories(count, seed=beam):
        outside, inside = (session.search(encoded, beam) for session in both)
        assert_same(outside, inside, beam)
        more += len(outside) > beam
        ended += any(len(best.tokens) < 8 for best in outside)
        unended += any(best.tokens[-1] != SPECIALS.end for best in outside)
    assert ended
    assert beam == 1 or unended
    assert beam < 3 or more  # two that end at once jump over the number that stops the search


def check_ties(both: Sessions, beam: int) -> None:
    """Of equal sums both searches take the same, and such were met."""
    tied = 0
    for encoded in memories(40):
        outside, inside = (session.search(encoded, beam) for session in both)
        assert_same(outside, inside, beam)
        tied += any(word in TWINS for best in outside for word in best.tokens)
    assert tied
