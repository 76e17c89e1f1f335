#!/usr/bin/env bash
# CIDEr-D: a caption that equals its reference in every letter reaches 2.5, 5 or 7.5 of 10 when it is short.
#
# Expected: CIDEr-D runs from 0 to 10, and a candidate that is its reference, word for word, gets 10.
# Instead: the score is the mean over n-grams of 1 to 4 words, and a caption of n words has none longer than n. "wind"
# gets 2.5, "a dog" 5, "birds sing loudly" 7.5, four words or more 10. So a set of labels or terse captions has a
# ceiling well below 10, which no model can pass, and a figure on such a set says nothing next to one on AudioCaps or
# Clotho. Words that are in every clip's references weigh nothing: "rain" where it always rains gets 0.
# Seen: pycocoevalcap 1.2, the reference implementation; aac-metrics 0.5.4 gives the same figures. Any platform.
# edgecap reports CIDEr-D as defined. Look at the lengths of a set's references before its score, and compare models
# on one set only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
# without its dependencies: they are Java, COCO's image tools and plots, and this metric needs none of them
venv/bin/pip install --quiet --disable-pip-version-check --no-deps numpy==2.4.6 pycocoevalcap==1.2
venv/bin/python - <<'PYTHON'
import sys

from pycocoevalcap.cider.cider import Cider

captions = ["wind", "a dog", "birds sing loudly", "a car passes by", "people are talking in a large room"]
print("pycocoevalcap 1.2")


def scores(sentences: list[str]) -> list[float]:
    """CIDEr-D of each sentence against itself, in the set of all of them."""
    both = {index: [sentence] for index, sentence in enumerate(sentences)}
    return [float(score) for score in Cider().compute_score(both, both)[1]]


perfect = scores(captions)
for caption, score in zip(captions, perfect, strict=True):
    print(f"{score:5.2f}  {caption}")
common = scores(["rain", "rain", "rain"])
print(f"{common[0]:5.2f}  rain, in a set where every reference is: rain")
if [round(score, 6) for score in perfect] != [2.5, 5, 7.5, 10, 10] or any(common):
    sys.exit("CHANGED: identical captions get other scores")
print("as described: the ceiling depends on the caption's length")
PYTHON
