"""The search chooses as the published one does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecap.errors import BundleError
from edgecap.inference.decoding import Hypothesis, beam_search

START, END = 1, 2


class TreeDecoder:
    """A decoder whose log-probabilities depend on the whole prefix, as a real one's do."""

    def __init__(self, vocabulary: int, seed: int, end_bias: float = 0.0) -> None:
        self.vocabulary, self.seed, self.end_bias = vocabulary, seed, end_bias
        self.prefixes: list[tuple[int, ...]] = []
        self.calls: list[tuple[list[int], int, list[int]]] = []

    def after(self, prefix: tuple[int, ...]) -> NDArray[np.float32]:
        random = np.random.default_rng([self.seed, *prefix])
        logits = random.standard_normal(self.vocabulary) * 2
        logits[END] += self.end_bias
        return np.asarray(logits - np.log(np.exp(logits).sum()), np.float32)

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        self.calls.append((tokens.tolist(), position, parents.tolist()))
        before = self.prefixes if position else [()] * len(tokens)
        self.prefixes = [(*before[parent], int(token)) for parent, token in zip(parents, tokens, strict=True)]
        return np.stack([self.after(prefix) for prefix in self.prefixes])


class TableDecoder:
    """A decoder that reads its probabilities from a table: prefix after the start token → {token: probability}."""

    def __init__(self, vocabulary: int, table: dict[tuple[int, ...], dict[int, float]]) -> None:
        self.vocabulary, self.table = vocabulary, table
        self.prefixes: list[tuple[int, ...]] = []

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        if position == 0:
            self.prefixes = [()] * len(tokens)
        else:
            self.prefixes = [(*self.prefixes[row], int(token)) for row, token in zip(parents, tokens, strict=True)]
        rows = np.full((len(tokens), self.vocabulary), np.log(1e-9), np.float32)
        for row, prefix in zip(rows, self.prefixes, strict=True):
            for token, probability in self.table.get(prefix, {}).items():
                row[token] = np.log(probability)
        return rows


def published_search(decoder: TreeDecoder, beam: int, max_tokens: int) -> list[Hypothesis]:
    """The authors' procedure, written down plainly: whole prefixes, full sort, no cache."""
    beams: list[tuple[tuple[int, ...], np.float32]] = [((START,), np.float32(0))] * beam
    done, finished = [], 0
    for step in range(max_tokens):
        options = []
        for row, (prefix, total) in enumerate(beams if step else beams[:1]):
            log_probs = decoder.after(prefix)
            options += [(np.float32(total + value), row, token) for token, value in enumerate(log_probs)]
        options.sort(key=lambda option: (-option[0], option[1], option[2]))
        grown = [((*beams[row][0], token), total) for total, row, token in options[:beam]]
        beams = []
        for prefix, total in grown:
            if prefix[-1] == END or step == max_tokens - 1:
                finished += 1
                if END not in prefix[:-1]:
                    logs = tuple(float(decoder.after(prefix[:i])[prefix[i]]) for i in range(1, len(prefix)))
                    done.append(Hypothesis(prefix[1:], float(total) / (step + 1), logs))
                beams.append((prefix, np.float32(-1000)))
            else:
                beams.append((prefix, total))
        if finished == beam:
            break
    return sorted(done, key=lambda hypothesis: -hypothesis.score)


@pytest.mark.parametrize("end_bias", [-8.0, 0.0, 2.0, 5.0])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_search_equals_the_published_procedure_on_random_decoders(beam: int, end_bias: float) -> None:
    for seed in range(12):
        hypotheses = beam_search(TreeDecoder(9, seed, end_bias), beam=beam, max_tokens=7, start=START, end=END)
        assert hypotheses == published_search(TreeDecoder(9, seed, end_bias), beam, 7)


def test_a_beam_of_one_takes_the_likeliest_token_each_time() -> None:
    decoder = TreeDecoder(30, 3, end_bias=1.0)
    prefix: tuple[int, ...] = (START,)
    while prefix[-1] != END and len(prefix) <= 20:
        prefix = (*prefix, int(decoder.after(prefix).argmax()))
    (best,) = beam_search(decoder, beam=1, max_tokens=20, start=START, end=END)
    assert best.tokens == prefix[1:]


def test_the_first_step_expands_only_the_first_row() -> None:
    decoder = TreeDecoder(12, 1, end_bias=-20.0)
    beam_search(decoder, beam=3, max_tokens=2, start=START, end=END)
    first, second = decoder.calls
    assert first[0] == [START] * 3
    assert second[2] == [0, 0, 0]
    assert len(set(second[0])) == 3


def test_a_score_is_the_mean_over_the_tokens_with_the_end_token() -> None:
    table = {(): {3: 0.9, END: 0.05}, (3,): {END: 0.5, 4: 0.25}, (3, 4): {END: 0.9}}
    best = beam_search(TableDecoder(5, table), beam=1, max_tokens=20, start=START, end=END)[0]
    assert best.tokens == (3, END)
    assert best.score == pytest.approx((np.log(0.9) + np.log(0.5)) / 2, rel=1e-6)
    assert sum(best.log_probs) / len(best.tokens) == pytest.approx(best.score, rel=1e-6)


def test_beams_compete_on_sums_and_hypotheses_on_means() -> None:
    # The short one has the higher sum, the long one the higher mean.
    table = {(): {END: 0.4, 3: 0.35}, (3,): {4: 0.99}, (3, 4): {END: 0.99}}
    best = beam_search(TableDecoder(6, table), beam=2, max_tokens=20, start=START, end=END)[0]
    assert best.tokens == (3, 4, END)


def test_search_goes_on_when_two_ends_jump_over_the_beam_size() -> None:
    # One beam ends, then two at once: three finished with a beam of two is not exactly two.
    table = {(): {END: 0.5, 3: 0.45}, (3,): {4: 0.5, END: 0.45}, (3, 4): {END: 0.9}}
    exactly = beam_search(TableDecoder(6, table), beam=2, max_tokens=20, start=START, end=END)
    assert {hypothesis.tokens for hypothesis in exactly} == {(END,), (3, END)}
    table = {
        (): {3: 0.5, 4: 0.4, END: 0.05},
        (3,): {END: 0.4, 5: 0.3},
        (4,): {5: 0.9},
        (4, 5): {END: 0.5, 3: 0.4},
        (3, 5): {END: 0.9},
        (4, 5, 3): {END: 0.9},
    }
    jumped = beam_search(TableDecoder(6, table), beam=3, max_tokens=20, start=START, end=END)
    assert (4, 5, 3, END) in [hypothesis.tokens for hypothesis in jumped]


def test_unfinished_beams_are_admitted_at_the_limit() -> None:
    hypotheses = beam_search(TreeDecoder(9, 0, end_bias=-50.0), beam=3, max_tokens=4, start=START, end=END)
    assert [len(hypothesis.tokens) for hypothesis in hypotheses] == [4, 4, 4]
    assert all(END not in hypothesis.tokens for hypothesis in hypotheses)


def test_nothing_that_follows_an_end_token_is_reported() -> None:
    for seed in range(20):
        for hypothesis in beam_search(TreeDecoder(6, seed, end_bias=4.0), beam=3, max_tokens=6, start=START, end=END):
            assert END not in hypothesis.tokens[:-1]


def test_equal_log_probabilities_are_taken_in_order() -> None:
    def flat(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.full((len(tokens), 6), -1.0, np.float32)

    hypotheses = beam_search(flat, beam=2, max_tokens=1, start=START, end=END)
    assert [hypothesis.tokens for hypothesis in hypotheses] == [(0,), (1,)]


def test_log_probabilities_that_are_not_numbers_are_an_error_of_the_model() -> None:
    with pytest.raises(BundleError, match="not numbers"):
        beam_search(
            lambda tokens, position, parents: np.full((3, 9), np.nan, np.float32),
            beam=3,
            max_tokens=20,
            start=START,
            end=END,
        )


@pytest.mark.parametrize(("beam", "limit"), [(0, 20), (3, 0)])
def test_a_beam_or_limit_below_one_is_refused(beam: int, limit: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(TreeDecoder(9, 0), beam=beam, max_tokens=limit, start=START, end=END)
