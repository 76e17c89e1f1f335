"""Reports of exports as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from edgecap.util.html import Bar, BarChart, Block, Code, Failure, Section, Table, html_page
from edgecap_export.bundle.bundles import created_by
from edgecap_export.bundle.comparison import StageTime
from edgecap_export.bundle.report import BASELINE, Report
from edgecap_export.quantisation.layers import LayerError
from edgecap_export.recipes import render_recipe


def report_page(reports: Sequence[Report]) -> str:
    """The page of one or more exports of one model."""
    name = reports[0].name
    blocks: list[Block] = [
        f"Each is compared with PyTorch and with {BASELINE}. Times are medians of one thread's processor time on the "
        "machine that exported; differences are in parts of an output's largest value."
    ]
    if len(reports) > 1:
        blocks.append(_overview(reports))
    blocks += [_section(report) for report in reports]
    title = f"{name}: {len(reports)} export{'s' if len(reports) > 1 else ''}"
    return html_page(title, blocks, provenance=[f"Written by {created_by()}."])


def _overview(reports: Sequence[Report]) -> Table:
    rows = []
    for report in reports:
        caption = next((stage for stage in report.stages if stage.name == "caption"), None)
        rows.append(
            [
                report.runtime,
                report.recipe.precision,
                f"{report.size_after / 1e6:.1f} MB",
                f"{caption.after:.2f} ms" if caption else "",
                f"{caption.ratio:.2f}" if caption else "",
                _share(report.same_captions),
                _score(report),
            ]
        )
    header = ["runtime", "precision", "programs", "caption", "of float32's time", "same captions", "CIDEr-D"]
    return Table(header, rows, numbers_from=2)


def _section(report: Report) -> Section:
    precision = report.recipe.precision
    blocks: list[Block] = [Failure(f"Written by --force although {report.failure}.")] if report.failure else []
    operators = Table(["operator", "number"], [[name, str(count)] for name, count in report.operators.items()], 1)
    differences = [[name, f"{value:.2g}"] for name, value in report.differences.items()]
    blocks += [
        Code(
            f"{report.size_after / 1e6:.1f} MB of programs, {report.size_after / report.size_before:.2f} of "
            f"float32's {report.size_before / 1e6:.1f} MB; front end {report.front_end}. Recipe",
            render_recipe(report.recipe),
        ),
        Section("Time of each stage, before and after", [_stage_chart(report.stages)]),
        Section("Captions", [_captions(report)]),
        Section("Largest differences from PyTorch", [Table(["output", "difference"], differences, 1)]),
        Section("Operators by kind and precision", [operators]),
    ]
    if report.delegated is not None:
        left = ", ".join(f"{name} × {count}" for name, count in report.not_delegated.items())
        blocks.append(
            f"{report.delegated:.1%} of the operators run in the delegate; the runtime's own kernels run the others: "
            f"{left or 'none'}."
        )
    if report.layers:
        explanation = (
            "Change of the decoder's keys (root mean square, relative to their own) with only this layer in "
            f"{precision}."
        )
        blocks.append(
            Section(
                f"Error layer by layer, worst first ({len(report.layers)} layers)",
                [explanation, _layer_chart(report.layers)],
            )
        )
    if report.stays_float:
        rows = [[name, why] for name, why in report.stays_float.items()]
        blocks.append(Section("What stayed in float, and why", [Table(["node", "why"], rows)]))
    return Section(f"{report.name} for {report.runtime}, {precision}", blocks)


def _captions(report: Report) -> str:
    lines = [
        f"{report.compared} sounds were captioned.",
        f"The same caption as {BASELINE}: {_share(report.same_captions)}.",
        f"The same tokens as PyTorch: {_share(report.same_tokens)}.",
    ]
    if report.score_before is not None:
        lines.append(
            f"CIDEr-D {_score(report)} (95 % bootstrap interval over clips); float32 has {report.score_before:.3f}."
        )
    else:
        lines.append("Whether captions are right was not measured: pass recordings with captions, --verify CSV.")
    return " ".join(lines)


def _score(report: Report) -> str:
    if report.score_after is None or report.score_interval is None:
        return ""
    low, high = report.score_interval
    return f"{report.score_after:.3f} [{low:.3f}, {high:.3f}]"


def _share(part: float | None) -> str:
    return "" if part is None else f"{part:.1%}"


def _stage_chart(stages: Sequence[StageTime]) -> BarChart:
    """Two bars for each stage, in milliseconds."""
    bars = []
    for stage in stages:
        bars.append(Bar(f"{stage.name}, float32", stage.before, f"{stage.before:.2f} ms", "#8a93a6"))
        bars.append(Bar(f"{stage.name}, this", stage.after, f"{stage.after:.2f} ms ({stage.ratio:.2f})"))
    return BarChart(bars)


def _layer_chart(layers: Sequence[LayerError]) -> BarChart:
    """One bar for each layer, worst first."""
    return BarChart([Bar(layer.node, layer.error, f"{layer.error:.4f}", "#d07b28") for layer in layers])
