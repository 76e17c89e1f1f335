"""Who says whether a caption is right: people's captions of a recording, or the tagger's scores of its sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgecap_train.text.broader import GROUP_OF
from edgecap_train.text.main_source import SOURCES, agreed_sources, main_source, named_sources

HEARD, NOT_HEARD = 0.3, 0.05
"""The tagger's score from which a source is heard, and below which it is not."""
NAMES = tuple(SOURCES)

Judge = Callable[[str], tuple[bool | None, bool | None]]
"""A caption to whether it is right, and whether its group is."""


def judged_by_people(references: Sequence[str]) -> Judge:
    """By the captions that people gave the recording."""
    main = main_source(references)
    groups = {GROUP_OF[source] for source in agreed_sources(references) | ({main} if main else set())}

    def judge(caption: str) -> tuple[bool | None, bool | None]:
        if main is None:
            return None, None
        named = named_sources(caption)
        return main in named, bool(named) and GROUP_OF[next(iter(_in_order(named)))] in groups

    return judge


def judged_by_tagger(scores: NDArray[np.float32]) -> Judge:
    """By the tagger's scores of the sources, (sources,)."""
    strongest = int(scores.argmax())

    def judge(caption: str) -> tuple[bool | None, bool | None]:
        named = _in_order(named_sources(caption))
        if not named:
            return False, False
        group = max(scores[place] for place, name in enumerate(NAMES) if GROUP_OF[name] == GROUP_OF[named[0]])
        broad = True if group >= HEARD else False if group < NOT_HEARD else None
        if scores[strongest] >= HEARD:
            return NAMES[strongest] in named, broad
        return (False if scores[NAMES.index(named[0])] < NOT_HEARD else None), broad

    return judge


def _in_order(named: dict[str, int]) -> list[str]:
    return sorted(named, key=lambda source: named[source])
