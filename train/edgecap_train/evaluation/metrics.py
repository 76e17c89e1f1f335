"""Metrics of captions against human ones, each with a bootstrap interval: the table of them, and the way through it.

A new metric is one function, `Clips` to `Metric`, in a file of this folder and one line in `METRICS`;
`edgecap evaluate` prints and writes it from there. Functions are loaded by name when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from edgecap_train.text.treebank import treebank_words

DRAWS = 2_000
"""Bootstrap samples of the clips."""
LEAST_CLIPS = 2
"""Clips that CIDEr-D needs: it weighs words by the share of the clips that have them."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Metric:
    """One metric over a set of clips, with its 95 % bootstrap interval."""

    mean: float
    """The corpus score: for BLEU that of all sentences together, else the mean over the clips."""
    low: float
    high: float
    clips: tuple[float, ...]
    """Score of each clip alone."""

    @property
    def interval(self) -> Interval:
        """Without the clips."""
        return Interval(self.mean, self.low, self.high)

    def document(self, name: str) -> dict[str, float]:
        """Mean and interval as a line of a run's metrics holds them."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True)
class MetricSpec:
    """One line of the table."""

    name: str
    """In JSON and CSV."""
    title: str
    """In tables and on the page."""
    function: str
    """"module:function" below `edgecap_train.evaluation`: `Clips` → `Metric`."""
    needs: str = "aac-metrics"
    """What is missing where its imports fail."""
    least_clips: int = 1
    """With fewer clips it has no meaning."""


METRICS = (
    MetricSpec("cider_d", "CIDEr-D", "lexical:cider_d", least_clips=LEAST_CLIPS),
    MetricSpec("bleu_1", "BLEU-1", "lexical:bleu_1"),
    MetricSpec("bleu_2", "BLEU-2", "lexical:bleu_2"),
    MetricSpec("bleu_3", "BLEU-3", "lexical:bleu_3"),
    MetricSpec("bleu_4", "BLEU-4", "lexical:bleu_4"),
    MetricSpec("rouge_l", "ROUGE-L", "lexical:rouge_l"),
    MetricSpec("main_source", "main source named", "lexical:main_source"),
    MetricSpec("second_source", "two sources named where people name two", "lexical:second_source"),
    MetricSpec("invented_sources", "named sources that nobody named", "lexical:invented"),
    MetricSpec("distinct", "distinct captions per clip", "diversity:distinct"),
    MetricSpec("commonest", "share of the commonest caption", "diversity:commonest"),
    MetricSpec("similarity", "sentence similarity", "sentence_metrics:similarity", "the extra evaluate"),
    MetricSpec("meteor", "METEOR", "sentence_metrics:meteor"),
    MetricSpec("spice", "SPICE", "sentence_metrics:spice"),
    MetricSpec("fense", "FENSE", "sentence_metrics:fense"),
    MetricSpec("spider", "SPIDEr", "sentence_metrics:spider", least_clips=LEAST_CLIPS),
)
TITLES = {spec.name: spec.title for spec in METRICS}


@dataclass(frozen=True)
class Scores:
    """All metrics that could be computed here, and why the others could not."""

    metrics: dict[str, Metric]
    missing: dict[str, str]
    """Name → reason, in words for people."""


class MetricUnavailableError(Exception):
    """A metric cannot be computed of these clips or on this machine; the message gives the reason."""


class Clips:
    """Captions and references of a set of clips, in the forms that metrics take."""

    def __init__(self, captions: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0) -> None:
        """`references` has at least one human caption with a word for each clip; `seed` draws the bootstrap.

        References without a word ("...") are left out. Raises ValueError for a clip that has no others.
        """
        if not captions or len(captions) != len(references):
            raise ValueError(f"{len(captions)} captions cannot be scored against {len(references)} clips")
        pairs = [[(text, words) for text in clip if (words := treebank_words(text))] for clip in references]
        if not all(pairs):
            raise ValueError(f"clip {pairs.index([])} has no reference with a word")
        self.captions, self.references = list(captions), [[text for text, _ in clip] for clip in pairs]
        self.words = [" ".join(treebank_words(text)) for text in captions]
        """Lower-case captions without punctuation, as pycocoevalcap counts words."""
        self.reference_words = [[" ".join(words) for _, words in clip] for clip in pairs]
        self.draws = np.random.default_rng(seed).integers(0, len(captions), (DRAWS, len(captions)))
        """Clips of each bootstrap sample, (draws, clips)."""
        self._metrics: dict[str, Metric] = {}

    def mean(self, scores: Sequence[float] | Floats) -> Metric:
        """The mean of the clips' scores (clips,), with its interval."""
        values = np.asarray(scores, np.float64)
        low, high = np.quantile(values[self.draws].mean(1), (0.025, 0.975))
        return Metric(float(values.mean()), float(low), float(high), tuple(map(float, values)))

    def ratio(self, parts: Sequence[float], wholes: Sequence[float]) -> Metric:
        """The sum of the clips' `parts` over that of their `wholes` (clips,), with its interval; 0 where none counts.

        A clip's own score is its part over its whole, 0 where it does not count.
        """
        over, under = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
        draws = over[self.draws].sum(1) / np.maximum(under[self.draws].sum(1), 1.0)
        low, high = np.quantile(draws, (0.025, 0.975))
        clips = tuple(map(float, over / np.maximum(under, 1.0)))
        return Metric(float(over.sum() / max(under.sum(), 1.0)), float(low), float(high), clips)

    def metric(self, spec: MetricSpec) -> Metric:
        """One metric of the table, computed once. Raises MetricUnavailableError, MissingDependencyError."""
        if len(self.captions) < spec.least_clips:
            raise MetricUnavailableError(f"it needs at least {spec.least_clips} clips, and there is 1")
        if spec.name not in self._metrics:
            module, _, name = spec.function.partition(":")
            try:
                compute: Callable[[Clips], Metric] = getattr(import_module(f"{__package__}.{module}"), name)
                self._metrics[spec.name] = compute(self)
            except ImportError as error:
                raise MetricUnavailableError(f"it needs {spec.needs}") from error
        return self._metrics[spec.name]


def score(captions: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0) -> Scores:
    """Score one caption for each clip by every metric. Raises MissingDependencyError without aac-metrics.

    `references` has at least one human caption for each clip; `seed` draws the bootstrap.
    """
    clips, metrics, missing = Clips(captions, references, seed), dict[str, Metric](), dict[str, str]()
    with _offline():
        for spec in METRICS:
            try:
                metrics[spec.name] = clips.metric(spec)
            except MetricUnavailableError as reason:
                missing[spec.name] = str(reason)
    return Scores(metrics, missing)


@contextmanager
def _offline() -> Iterator[None]:
    """Keep transformers from requesting anything from a hub."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
