"""Which tests stay in one process where pytest-xdist runs them in several (`-n 2`, as `.ci/run` does)."""

from __future__ import annotations

import re
from functools import cache

from xdist.scheduler import LoadScopeScheduling

from support.source_tree import REPOSITORY

SHARED = {
    # up to half a minute for each bundle
    "exports": re.compile(r"^ *from support\.exports\.exported import", re.MULTILINE),
    "imports": re.compile(r"\bimported_parity\b"),  # ten seconds for the bundle
    # one long test of few: by itself it would begin last, as files with few tests do, while the other process idles
    "pages": re.compile(r"\bweb_runtime\b"),
    "ray": re.compile(r"\b(ray_cluster|ray_parts)\b"),  # a cluster is many processes at work
}
"""Group → what the text of the test files says that belong to it."""


class SharedWorkScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A file's tests stay in one process, and so do the files that share what is slow to make."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])


@cache
def group_of(file: str) -> str:
    """The group of a test file, which is named from the repository's folder: one of `SHARED`, or the file alone."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    return next((group for group, pattern in SHARED.items() if pattern.search(text)), file)
