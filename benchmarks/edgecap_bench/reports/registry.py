"""The parts of RESULTS.md: which kind of result file becomes which section, in the order of the page.

A result file is a JSON object in `benchmarks/results` whose "format" names its kind. Who measures something new adds
one line to `SECTIONS` and a function that takes the paths of all files of that kind, in order of their names, and
gives a `Part`:

    def section(paths: Sequence[Path]) -> Part:
        '''Raises ResultError for a file of another version, of a busy machine, or cut short.'''

`edgecap_bench.reports.results.read_document` reads a file strictly by format and version, `write_whole` writes one;
`illustrated` makes the section of pages with a picture each, `refuse_faulty` says no to a run that is no result;
`edgecap_bench.reports.tables` has what numbers and tables are written with;
`edgecap_bench.harness.machine.this_machine` and `versions` say where and with what it was measured, which belongs
into every file together with the command and the date. The function's module is imported only when there is a file
for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar, cast

from edgecap.errors import ResultError
from edgecap_bench.reports.tables import Page, markdown

Draw = Callable[[Path], None]
"""Writes one picture to the path it is given."""


class Faulty(Protocol):
    """A run that says what is wrong with it."""

    @property
    def noisy(self) -> bool:
        """Whether other programs took so much that it is no result."""
        ...

    @property
    def partial(self) -> bool:
        """Whether it was cut short."""
        ...


class Dated(Faulty, Protocol):
    """One that says when it was, too."""

    @property
    def date(self) -> str:
        """ISO 8601."""
        ...


Run = TypeVar("Run", bound=Dated)


@dataclass(frozen=True)
class Part:
    """One section of the page."""

    text: str
    """Markdown from its heading "## …" on. A picture is named as `plots/NAME.png`."""
    plots: Mapping[str, Draw] = field(default_factory=dict)
    """File name in `benchmarks/plots` → what draws it."""


@dataclass(frozen=True)
class Section:
    """A kind of result file and what reads it."""

    format: str
    function: str
    """As "module:function"."""

    def make(self, paths: Sequence[Path]) -> Part:
        """The section of these files. Raises ResultError."""
        module, _, name = self.function.partition(":")
        function = cast(Callable[[Sequence[Path]], Part], getattr(import_module(module), name))
        return function(paths)


SECTIONS = (
    Section("edgecap-bench", "edgecap_bench.figures.report:section"),
    Section("edgecap-bench-comparison", "edgecap_bench.comparison.report:section"),
    Section("edgecap-bench-growth", "edgecap_bench.scaling.report:section"),
    Section("edgecap-bench-quality", "edgecap_bench.quality.report:section"),
    Section("edgecap-bench-submission", "edgecap_bench.boards.report:section"),
    Section("edgecap-bench-listen", "edgecap_bench.live.listen_result:section"),
    Section("edgecap-bench-soak", "edgecap_bench.live.soak_result:section"),
    Section("edgecap-bench-page", "edgecap_bench.live.page_result:section"),
    Section("edgecap-arm-lab", "edgecap_bench.arm.report:section"),
    Section("edgecap-bench-comparison", "edgecap_bench.arm.prediction_report:section"),
)
"""In the order of the page."""


def parts(folder: Path) -> list[Part]:
    """The sections for all result files of `folder`. Raises ResultError, also where there is none or one of no kind."""
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ResultError(f"{folder} holds no results; make one with edgecap bench --json")
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(kind(path), []).append(path)
    known = {section.format for section in SECTIONS}
    for unknown in sorted(kinds.keys() - known):
        raise ResultError(
            f"{kinds[unknown][0]} is of the kind {unknown!r}, which no section takes in; remove it, or "
            "add its section to edgecap_bench.reports.registry"
        )
    return [section.make(kinds[section.format]) for section in SECTIONS if section.format in kinds]


def illustrated(
    paths: Sequence[Path], read: Callable[[Path], Run], page: Callable[[Run], Page], draw: Callable[[Run, Path], None]
) -> Part:
    """The section of runs in the order of their dates, each a page with a picture named after its file.

    Raises ResultError for one of a busy machine and for one that was cut short.
    """
    texts: list[str] = []
    plots: dict[str, Draw] = {}
    for path, run in sorted(((path, read(path)) for path in paths), key=lambda pair: pair[1].date):
        refuse_faulty(run, str(path))
        shown, picture = page(run), f"{path.stem}.png"
        texts.append(f"{markdown(shown, level=2)}\n![{shown.title}](plots/{picture})\n")
        plots[picture] = partial(draw, run)
    return Part("\n".join(texts), plots)


def refuse_faulty(run: Faulty, name: str) -> None:
    """Raise ResultError for a run on a busy machine, and for one that was cut short; `name` says which it is."""
    if run.noisy or run.partial:
        what = "measured on a busy machine" if run.noisy else "cut short"
        raise ResultError(f"{name} was {what} and is no result; measure again")


def kind(path: Path) -> str:
    """What kind of result a file calls itself, whatever its version. Raises ResultError."""
    try:
        head = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(
            f"{path} cannot be read as a result ({error}); measure again with edgecap bench --json"
        ) from error
    if not isinstance(head, dict) or not isinstance(head.get("format"), str):
        raise ResultError(
            f"{path} is no result of edgecap bench; remove it, or measure again with edgecap bench --json"
        )
    return str(head["format"])
