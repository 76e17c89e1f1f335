"""Metrics counted from words: CIDEr-D, BLEU and ROUGE-L as aac-metrics computes them, and the main sound source.

CIDEr-D takes its document frequencies from the references given, so a score depends on the set of clips and compares
only within it.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import lru_cache, partial
from io import StringIO
from typing import Any

import numpy as np

from edgecap.errors import MissingDependencyError
from edgecap_train.evaluation.metrics import Clips, Floats, Metric
from edgecap_train.text.main_source import agreed_sources, invented_sources, named_sources, names_main_source

ORDERS = 4


def cider_d(clips: Clips) -> Metric:
    """CIDEr-D (Vedantam et al. 2015), 0 to 10. Raises MissingDependencyError without aac-metrics."""
    return clips.mean(first_scores(_lexical()[0], clips.words, clips.reference_words))


def rouge_l(clips: Clips) -> Metric:
    """ROUGE-L (Lin 2004)."""
    return clips.mean(first_scores(_lexical()[2], clips.words, clips.reference_words))


def main_source(clips: Clips) -> Metric:
    """Share of the clips whose caption names the main sound source of the references."""
    pairs = zip(clips.captions, clips.references, strict=True)
    return clips.mean([float(names_main_source(*pair) is True) for pair in pairs])


def second_source(clips: Clips) -> Metric:
    """Of the clips for which the references agree on two sources or more, the share whose caption names two of them."""
    agreed = [agreed_sources(references) for references in clips.references]
    counted = [float(len(sources) > 1) for sources in agreed]
    named = [
        float(len(sources & named_sources(text).keys()) > 1)
        for sources, text in zip(agreed, clips.captions, strict=True)
    ]
    return clips.ratio(named, counted)


def invented(clips: Clips) -> Metric:
    """Of the sources that captions name, the share that no reference of their clip names."""
    pairs = list(zip(clips.captions, clips.references, strict=True))
    return clips.ratio(
        [float(len(invented_sources(*pair))) for pair in pairs], [float(len(named_sources(text))) for text, _ in pairs]
    )


def first_scores(metric: Callable[..., Any], captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """The first score that a metric of aac-metrics gives each clip, (clips,)."""
    _, local = metric(list(captions), [list(clip) for clip in references])
    return np.asarray(next(iter(local.values())), np.float64)


@contextmanager
def quiet() -> Iterator[None]:
    """Discard log messages and progress bars of libraries."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _lexical() -> tuple[Callable[..., Any], Any, Callable[..., Any]]:
    """CIDEr-D, the module of BLEU and ROUGE-L."""
    try:
        with quiet():
            from aac_metrics.functional.cider_d import cider_d
            from aac_metrics.functional.rouge_l import rouge_l
    except ImportError as error:
        raise MissingDependencyError.for_extra("scoring captions", "evaluate") from error
    return cider_d, sys.modules["aac_metrics.functional.bleu"], rouge_l


@lru_cache(maxsize=1)
def _bleus(clips: Clips) -> tuple[Metric, ...]:
    """BLEU-1 to BLEU-4. A corpus score is not a mean over clips, so the interval resamples the counts behind it."""
    bleu = _lexical()[1]
    cooked, _ = bleu._bleu_update(clips.words, clips.reference_words, ORDERS, str.split, [], [])
    corpus, local = bleu.bleu(clips.words, clips.reference_words, n=ORDERS, return_1_to_n=True)
    closest = [min((abs(n - clip["testlen"]), n) for n in clip["reflen"])[1] for clip in cooked]
    counts = np.array(
        [
            [*clip["correct"], *clip["guess"], clip["testlen"], length]
            for clip, length in zip(cooked, closest, strict=True)
        ],
        np.float64,
    )
    low, high = np.quantile(_corpus_bleu(counts[clips.draws].sum(1)), (0.025, 0.975), axis=0)
    means, local_scores = corpus[f"bleu_1_to_{ORDERS}"], local[f"bleu_1_to_{ORDERS}"]
    return tuple(
        Metric(float(means[n]), float(low[n]), float(high[n]), tuple(map(float, local_scores[n])))
        for n in range(ORDERS)
    )


def _corpus_bleu(counts: Floats) -> Floats:
    """BLEU-1 to 4 (Papineni et al. 2002) from counts (sets, 10): right and all n-grams of 1 to 4, both lengths."""
    right, all_of_them = counts[:, :ORDERS], counts[:, ORDERS : 2 * ORDERS]
    precision = (right + 1e-15) / (all_of_them + 1e-9)
    mean = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, ORDERS + 1))
    ratio = (counts[:, -2] + 1e-15) / (counts[:, -1] + 1e-9)
    return np.asarray(mean * np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))[:, None])


def _bleu(clips: Clips, order: int) -> Metric:
    return _bleus(clips)[order - 1]


bleu_1, bleu_2, bleu_3, bleu_4 = (partial(_bleu, order=order) for order in range(1, ORDERS + 1))
"""BLEU of 1 to 4 words (Papineni et al. 2002), over all captions together."""
