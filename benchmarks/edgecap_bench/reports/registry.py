"""The result formats: what each file holds, and the functions that show it.

A new kind of measurement is one entry of `FORMATS`, and one module or more with

    a body, a frozen dataclass with FORMAT and VERSION            (`edgecap_bench.reports.measurement`)
    a page, Measurement[Body] -> Page                             (`edgecap_bench.reports.tables`)
    a plot, (Measurement[Body], Path) -> None, where it has one   (`edgecap_bench.reports.plots`)

They are named as "module:name" and imported when a file of the format is read, so a format whose package is not
installed costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from edgecap.errors import MissingDependencyError, ResultError
from edgecap_bench.reports.measurement import Header, Measurement, read_document, read_measurement
from edgecap_bench.reports.tables import Page, markdown

Plot = Callable[[Path], None]
"""Writes one picture (PNG) to a path."""


@dataclass(frozen=True, kw_only=True)
class ResultFormat:
    """One kind of result file."""

    name: str
    body: str
    """Class of its content, "module:class"."""
    page: str
    """What shows a measurement as a page."""
    plot: str = ""
    """What draws a measurement; empty for none."""
    summary: str = ""
    """What shows a list of measurements as one page: the section of RESULTS.md, where it has not a page for each."""
    counts: bool = False
    """Whether it counts rounds and says how many: then one that was cut short is shown too, marked as such."""

    def read(self, path: Path) -> Measurement[Any]:
        """Read a file of this format. Raises ResultError, MissingDependencyError."""
        return read_measurement(path, _load(self.body))

    def section(self, paths: Sequence[Path]) -> ResultSection:
        """The section of RESULTS.md of these files, in the order of their dates. Raises ResultError."""
        measurements = {path: self.read(path) for path in paths}
        for path, measurement in measurements.items():
            if not (self.counts and measurement.header.partial):
                refuse_faulty(measurement.header, str(path))
        ordered = sorted(measurements.items(), key=lambda pair: pair[1].header.date)
        if self.summary:
            return ResultSection(markdown(_load(self.summary)([measurement for _, measurement in ordered]), level=2))
        texts: list[str] = []
        plots: dict[str, Plot] = {}
        for path, measurement in ordered:
            page, picture = _load(self.page)(measurement), f"{path.stem}.png"
            texts.append(markdown(page, level=2))
            if self.plot:
                texts[-1] += f"\n![{page.title}](plots/{picture})\n"
                plots[picture] = partial(_load(self.plot), measurement)
        return ResultSection("\n".join(texts), plots)


@dataclass(frozen=True)
class ResultSection:
    """One section of RESULTS.md."""

    text: str
    """Markdown from its heading "## …" on. A picture is named as `plots/NAME.png`."""
    plots: Mapping[str, Plot] = field(default_factory=dict)
    """File name in `benchmarks/plots` → what draws it."""


def _entry(
    name: str, package: str, *, body: str, page: str, plot: str = "", summary: str = "", counts: bool = False
) -> ResultFormat:
    """An entry whose names are all below one sub-package of edgecap_bench."""
    names = [word and f"edgecap_bench.{package}.{word}" for word in (body, page, plot, summary)]
    return ResultFormat(name=name, body=names[0], page=names[1], plot=names[2], summary=names[3], counts=counts)


FORMATS = (
    _entry("edgecap-bench", "figures", body="results:Figures", page="report:figures_page", plot="report:draw"),
    _entry(
        "edgecap-bench-profile", "profiling", body="results:Profile", page="report:profile_page", plot="report:draw"
    ),
    _entry(
        "edgecap-bench-comparison",
        "comparison",
        body="results:Comparison",
        page="report:comparison_page",
        plot="plot:draw",
    ),
    _entry("edgecap-bench-growth", "scaling", body="results:Growth", page="report:growth_page", plot="report:draw"),
    _entry("edgecap-bench-archive", "scaling", body="archive_result:ArchiveScale", page="archive_result:archive_page"),
    _entry("edgecap-bench-quality", "quality", body="results:Quality", page="report:quality_page", plot="report:draw"),
    _entry(
        "edgecap-bench-submission",
        "boards",
        body="submission:Submission",
        page="report:board_page",
        plot="report:draw",
        summary="report:boards_page",
    ),
    _entry("edgecap-bench-listen", "live", body="listen_result:Listening", page="listen_result:listening_page"),
    _entry("edgecap-bench-soak", "live", body="soak_result:Soak", page="soak_result:soak_page"),
    _entry("edgecap-bench-faults", "faults", body="result:Faults", page="result:faults_page", counts=True),
    _entry("edgecap-bench-fault-soak", "faults", body="soak:FaultSoak", page="soak:soak_page", counts=True),
    _entry("edgecap-bench-flood", "faults", body="flood:Flood", page="flood:flood_page"),
    _entry("edgecap-bench-page", "live", body="page_result:PageUpdates", page="page_result:updates_page"),
    _entry("edgecap-arm-lab", "arm", body="results:ArmLab", page="report:lab_page"),
)
"""In the order of RESULTS.md."""


def format_of(name: str) -> ResultFormat:
    """The entry of a format. Raises ResultError for one that has none."""
    for entry in FORMATS:
        if entry.name == name:
            return entry
    raise ResultError(f"unknown format {name!r}; remove the file, or add an entry to edgecap_bench.reports.registry")


def results_of(folder: Path, name: str) -> list[Path]:
    """The result files of one format in `folder`. Raises ResultError for one that is not a result."""
    return [path for path in sorted(folder.glob("*.json")) if read_document(path)["format"] == name]


def read_sections(folder: Path, skip: Callable[[str], None]) -> list[ResultSection]:
    """The sections for all result files of `folder`; a format whose package is not installed is left out, and `skip`
    gets a line about it.

    Raises ResultError, also where there is no file or one of an unknown format.
    """
    by_format: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            entry = format_of(read_document(path)["format"])
        except ResultError as error:
            raise ResultError(f"{path}: {error}") from error
        by_format.setdefault(entry.name, []).append(path)
    if not by_format:
        raise ResultError(f"{folder} holds no results; make one with: edgecap bench --json-file FILE")
    sections = []
    for entry in FORMATS:
        try:
            if entry.name in by_format:
                sections.append(entry.section(by_format[entry.name]))
        except MissingDependencyError as error:
            skip(f"{', '.join(path.name for path in by_format[entry.name])} left out: {error}")
    return sections


def page_of(measurement: Measurement[Any]) -> Page:
    """A measurement for people."""
    entry = format_of(measurement.header.format)
    page: Page = _load(entry.page)(measurement)
    return page


def plot_of(measurement: Measurement[Any], path: Path) -> None:
    """Draw a measurement to `path`. Raises MissingDependencyError without matplotlib, ResultError without a plot."""
    entry = format_of(measurement.header.format)
    if not entry.plot:
        raise ResultError(f"a result of the format {entry.name} has no plot; leave out --plot")
    _load(entry.plot)(measurement, path)


def refuse_faulty(header: Header, name: str) -> None:
    """Raise ResultError for a run on a busy machine and for one that was cut short; `name` says which run."""
    if header.noisy or header.partial:
        reason = "measured on a busy machine" if header.noisy else "cut short"
        raise ResultError(f"{name} was {reason} and is not a result; measure again")


def _load(name: str) -> Any:  # noqa: ANN401 - a class or a function
    """What "module:name" names. Raises MissingDependencyError where its module is not part of this installation."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("edgecap_bench"):
            raise
        raise MissingDependencyError(f"{error.name} is not part of this installation; use a checkout") from error
