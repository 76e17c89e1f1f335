"""The nearest rows are those that looking at every row gives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecap.archive_search import nearest as module
from edgecap.archive_search.nearest import EmbeddingMatrix, Floats, directions, parts, unit

ROWS, DIM = 3000, 48
Silent = NDArray[np.bool_]


def matrix(embeddings: Floats, silent: Silent) -> EmbeddingMatrix:
    halves = embeddings.astype(np.float16)
    axes = directions(halves[~silent][::3])
    return EmbeddingMatrix(*parts(halves, silent, axes), axes)


def made(seed: int) -> tuple[Floats, Silent]:
    """Embeddings around few centres, a tenth of them silent."""
    generator = np.random.default_rng(seed)
    centres = np.abs(generator.standard_normal((12, DIM)))
    embeddings = centres[generator.integers(12, size=ROWS)] + 0.2 * np.abs(generator.standard_normal((ROWS, DIM)))
    return embeddings.astype(np.float32), generator.random(ROWS) < 0.1


@pytest.mark.parametrize("head", [2, 12, DIM])
@pytest.mark.parametrize("limit", [1, 20, 4000])
def test_they_are_those_of_looking_at_every_row(monkeypatch: pytest.MonkeyPatch, head: int, limit: int) -> None:
    monkeypatch.setattr(module, "HEAD", head)
    monkeypatch.setattr(module, "_BATCH", 16)
    embeddings, silent = made(limit)
    query = embeddings[np.flatnonzero(~silent)[7]] * 3
    rows, cosines = matrix(embeddings, silent).nearest(query, limit)
    exact = unit(embeddings.astype(np.float16)).astype(np.float16).astype(np.float32) @ unit(query[None])[0]
    exact[silent] = -2
    expected = np.sort(exact[~silent])[::-1][:limit]
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    np.testing.assert_allclose(exact[rows], cosines, atol=1e-6)
    assert len(set(rows.tolist())) == len(rows)
    assert cosines[0] == pytest.approx(1.0, abs=1e-3)


def test_only_the_rows_that_are_asked_for_are_given_and_never_a_silent_one() -> None:
    embeddings, silent = made(1)
    among = np.arange(100, 200)
    rows, _ = matrix(embeddings, silent).nearest(embeddings[5], 500, among)
    assert sorted(rows.tolist()) == [row for row in range(100, 200) if not silent[row]]
    rows, _ = matrix(embeddings, silent).nearest(embeddings[5], 5, np.empty(0, np.int64))
    assert rows.size == 0


def test_a_row_that_is_not_finite_or_zero_is_never_near() -> None:
    embeddings, silent = made(2)
    silent[:] = False
    embeddings[0, 3], embeddings[1] = np.nan, 0.0
    rows, cosines = matrix_of_the_rest(embeddings, silent).nearest(embeddings[2], ROWS)
    assert not {0, 1} & set(rows.tolist())
    assert len(rows) == ROWS - 2
    assert np.isfinite(cosines).all()


def matrix_of_the_rest(embeddings: Floats, silent: Silent) -> EmbeddingMatrix:
    axes = directions(embeddings[2:].astype(np.float16))
    return EmbeddingMatrix(*parts(embeddings.astype(np.float16), silent, axes), axes)
