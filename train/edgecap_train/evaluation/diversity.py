"""How varied captions are. A model with one caption for everything can score well on similar clips."""

from __future__ import annotations

from collections import Counter

from edgecap_train.evaluation.metrics import Clips, Metric


def distinct(clips: Clips) -> Metric:
    """Different captions for each clip: 1 where no two clips have the same, 1 / clips where all have.

    A clip's own score is one divided by the number of clips with its caption, so that the mean is the count of
    different captions divided by that of clips.
    """
    counts = Counter(clips.words)
    return clips.mean([1.0 / counts[words] for words in clips.words])


def commonest(clips: Clips) -> Metric:
    """Share of the clips that have the commonest caption; lower is more varied."""
    most = max(Counter(clips.words).items(), key=lambda entry: (entry[1], entry[0]))[0]
    return clips.mean([float(words == most) for words in clips.words])
