"""Progress of long work: what is reported, and a bar for it on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Progress(Protocol):
    """Called while work goes on."""

    def __call__(self, done: float, total: float | None, label: str = "") -> None:
        """`done` of `total` units are finished (None: the total is not known); `label` names the present one."""


def no_progress(done: float, total: float | None, label: str = "") -> None:
    """Report nothing."""


@contextmanager
def progress_bar(title: str = "") -> Iterator[ProgressBar]:
    """A bar on standard error, from the first report on; nothing where that is a file or a pipe."""
    bar = ProgressBar(title)
    try:
        yield bar
    finally:
        bar.close()


class ProgressBar:
    """A `Progress` that draws; made by `progress_bar`."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def __call__(self, done: float, total: float | None, label: str = "") -> None:
        """Draw the bar where standard error is a terminal."""
        if self._bars is None and sys.stderr.isatty():
            self._start()
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total, description=f"{self._title} {label}".strip())

    @contextmanager
    def hidden(self, hide: bool = True) -> Iterator[None]:
        """Take the bar off the terminal while something else is printed there; nothing where `hide` is False."""
        if self._bars is None or not hide:
            yield
            return
        self._bars.stop()
        yield
        self._bars.start()

    def close(self) -> None:
        """Take the bar off the terminal for good."""
        if self._bars is not None:
            self._bars.stop()

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bars.add_task(self._title, total=None)
        self._bars.start()
