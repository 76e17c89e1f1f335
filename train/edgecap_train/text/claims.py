"""Whether a caption's words claim something that the tagger does not hear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgecap_train.text.lexicon import CLAIMS


class ClaimCheck:
    """The lexicon's claims over one tagger's classes."""

    def __init__(self, classes: Sequence[str]) -> None:
        """`classes`: display names in output order; those that the lexicon does not know support nothing."""
        column = {name: index for index, name in enumerate(classes)}
        self._support = [[column[name] for name in claim.classes if name in column] for claim in CLAIMS]

    def made(self, words: Sequence[str]) -> NDArray[np.bool_]:
        """Which claims a caption makes: (claims,)."""
        return np.array([any(f"{word} ".startswith(claim.stems) for word in words) for claim in CLAIMS])

    def unheard(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which claims the scores (classes,) in [0, 1] do not support: (claims,)."""
        heard = [
            bool(classes) and float(scores[classes].max()) >= claim.least
            for claim, classes in zip(CLAIMS, self._support, strict=True)
        ]
        return ~np.array(heard)

    def is_false(self, words: Sequence[str], scores: NDArray[np.float32]) -> bool:
        """Whether the caption claims something that these scores do not support."""
        return bool((self.made(words) & self.unheard(scores)).any())
