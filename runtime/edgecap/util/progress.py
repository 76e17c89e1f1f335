"""Progress of long work: what is reported, and a bar for it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Called while work goes on."""

    def __call__(self, done: float, total: float | None, label: str = "") -> None:
        """`done` of `total` units are finished (None: the total is not known); `label` names the present one."""


def no_progress(done: float, total: float | None, label: str = "") -> None:
    """Report nothing."""


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar on standard error where that is a terminal; nothing where it is a file or a pipe."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=None)

        def report(done: float, total: float | None, label: str = "") -> None:
            bars.update(task, completed=done, total=total, description=f"{title} {label}".rstrip())

        yield report
