"""Quality beside cost, as a table, as the trade-off plot of the paper's Figure 1, and as its section of RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap_bench.comparison.baseline import RECORDED, recorded_entrants
from edgecap_bench.comparison.published_scores import SYSTEMS
from edgecap_bench.comparison.results import Entrant
from edgecap_bench.quality.results import Quality, read_quality
from edgecap_bench.reports.registry import Part, illustrated
from edgecap_bench.reports.tables import Page, Sheet, amount, cores, count, origin, spread


def quality_page(quality: Quality) -> Page:
    """It for people."""
    faults = ["NO RESULT, the machine was busy"] * quality.noisy + ["PARTIAL"] * quality.partial
    title = f"Quality beside cost: {quality.clips} recordings of {quality.data}, {cores(quality.threads)}"
    rows: list[tuple[str, ...]] = [
        (
            each.key,
            f"{each.cider_d:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            f"{each.same_as_first:.0%}",
            str(each.different),
            count(each.parameters),
            amount(each.size_bytes, "B"),
            amount(each.time.median, "s"),
            spread(each.time.low, each.time.high, "s"),
        )
        for each in quality.models
    ]
    header = (
        "Model",
        "CIDEr-D",
        "95 % interval",
        "Captions as the first",
        "Different captions",
        "Parameters",
        "Files",
        "Time a caption",
        "95 % interval of the time",
    )
    published: list[tuple[str, ...]] = [
        (each.name, "" if each.cider_d is None else f"{each.cider_d:.3f}", count(each.parameters), each.source)
        for each in SYSTEMS
    ]
    notes = [
        "Document frequencies of CIDEr-D come from these recordings alone, so a score compares only within the "
        "table; the interval is a bootstrap over the recordings.",
        "Published systems were scored by their authors on AudioCaps' whole test set: points to look at, not to "
        "rank by.",
    ]
    notes += [f"Left out: {line}." for line in (*quality.skipped, *quality.left_out)]
    return Page(
        title=": ".join([*faults, title]),
        notes=notes,
        fault=bool(faults),
        sheets=[
            Sheet("", header, rows),
            Sheet("Published systems", ("System", "CIDEr-D, AudioCaps test", "Parameters", "Source"), published),
        ],
        provenance=origin(quality.date, quality.command, quality.machine, quality.versions),
    )


def section(paths: Sequence[Path]) -> Part:
    """The section of all such files, with a picture for each. Raises ResultError."""
    return illustrated(paths, read_quality, quality_page, draw)


def draw(quality: Quality, path: Path) -> None:
    """Quality over parameters, bytes and time, published systems as labelled points (grey)."""
    from edgecap_bench.reports.plots import panels

    with panels(path, 3, quality_page(quality).title, (5.0, 4.0)) as (numbers, sizes, times):
        for number, each in enumerate(quality.models):
            style = {"fmt": "o", "capsize": 2, "color": f"C{number % 10}", "label": each.key}
            error = [[each.cider_d - each.low], [each.high - each.cider_d]]
            if each.parameters:
                numbers.errorbar(each.parameters / 1e6, each.cider_d, error, **style)
            sizes.errorbar(each.size_bytes / 1e6, each.cider_d, error, **style)
            times.errorbar(1e3 * each.time.median, each.cider_d, error, **style)
        recorded = _recorded()
        for system in SYSTEMS:
            found = recorded.get(system.kind)
            places = [(numbers, system.parameters / 1e6)]
            if found is not None:
                places += [(sizes, found.size_bytes / 1e6), (times, 1e3 * found.caption.median)]
            for axis, x in places:
                label = system.name
                if system.cider_d is None:
                    axis.axvline(x, color="0.6", linestyle=":", label=f"{label}: no score to cite")
                else:
                    axis.plot(x, system.cider_d, "s", color="0.5", label=f"{label}: AudioCaps test")
        numbers.set(xscale="log", xlabel="million parameters", ylabel="CIDEr-D")
        sizes.set(xscale="log", xlabel="MB of files")
        times.set(xscale="log", xlabel="ms for a caption (published systems: as recorded in the package)")
        for axis in (numbers, sizes, times):
            axis.set_ylim(bottom=0)
        numbers.legend(fontsize=6)


def _recorded() -> dict[str, Entrant]:
    """The published models' recorded times, by kind; empty where there is no record."""
    if not RECORDED.is_file():
        return {}
    return {
        entrant.kind: entrant
        for entrant in recorded_entrants({system.kind for system in SYSTEMS})
        if entrant.kind != "bundle"
    }
