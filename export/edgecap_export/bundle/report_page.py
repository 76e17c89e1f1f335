"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere; plots are SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from edgecap_export.bundle.bundles import created_by
from edgecap_export.bundle.comparison import StageTime
from edgecap_export.bundle.reports import BASELINE, Report
from edgecap_export.quantisation.layers import LayerError
from edgecap_export.recipes import render_recipe

WIDTH, LABEL, BAR = 760, 210, 18
"""Pixels: of a plot, of its labels, from one bar to the next."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2024; background: #fff; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; border-top: 1px solid #ccd; padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
table { border-collapse: collapse; margin: .4rem 0; } th, td { padding: .15rem .9rem .15rem 0; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #99a; font-weight: 600; } .wide { overflow-x: auto; }
.failed { background: #fde8e4; border-left: 4px solid #b3261e; padding: .5rem .8rem; }
svg text { font: 12px system-ui, sans-serif; fill: #1c2024; } code { overflow-wrap: anywhere; }
"""


def report_page(reports: Sequence[Report]) -> str:
    """The page of one or more exports of one model."""
    name = reports[0].name
    parts = [
        f"<h1>{escape(name)}: {len(reports)} export{'s' if len(reports) > 1 else ''}</h1>",
        f"<p>Each is compared with PyTorch and with {BASELINE}. Times are medians of one thread's processor time "
        "on the machine that exported; differences are in parts of an output's largest value.</p>",
    ]
    if len(reports) > 1:
        parts.append(_overview(reports))
    parts += [_section(report) for report in reports]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"/><title>{escape(name)}: exports</title>'
        f"<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<p>Written by {escape(created_by())}.</p>\n</body></html>\n"
    )


def _overview(reports: Sequence[Report]) -> str:
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
    return _table(["runtime", "precision", "size", "caption", "of float32 ONNX", "same captions", "CIDEr-D"], rows, 2)


def _section(report: Report) -> str:
    parts = [f"<h2>{escape(report.name)} for {escape(report.runtime)}, {escape(report.recipe.precision)}</h2>"]
    if report.failure:
        parts.append(f'<p class="failed">Written by --force although {escape(report.failure)}.</p>')
    parts.append(
        f"<p>{report.size_after / 1e6:.1f} MB of programs, {report.size_after / report.size_before:.2f} of "
        f"float32's {report.size_before / 1e6:.1f} MB; front end {escape(report.front_end)}. Recipe "
        f"<code>{escape(render_recipe(report.recipe))}</code></p>"
    )
    parts += ["<h3>Time of each stage, before and after</h3>", stage_plot(report.stages)]
    parts += ["<h3>Captions</h3>", _captions(report)]
    differences = [[name, f"{value:.2g}"] for name, value in report.differences.items()]
    parts += ["<h3>Largest differences from PyTorch</h3>", _table(["output", "difference"], differences, 1)]
    parts += [
        "<h3>Operators by kind and precision</h3>",
        _table(["operator", "number"], [[name, str(count)] for name, count in report.operators.items()], 1),
    ]
    if report.delegated is not None:
        left = ", ".join(f"{name} × {count}" for name, count in report.not_delegated.items())
        parts.append(
            f"<p>{report.delegated:.1%} of the operators run in the delegate; left to the runtime's own "
            f"kernels: {escape(left) or 'none'}.</p>"
        )
    if report.layers:
        parts += [
            f"<h3>Error layer by layer, worst first ({len(report.layers)} layers)</h3>",
            "<p>Change of the decoder's keys (root mean square, in parts of their own) with this layer alone in "
            f"{escape(report.recipe.precision)}.</p>",
            layer_plot(report.layers),
        ]
    if report.stays_float:
        parts += [
            "<h3>What stayed in float, and why</h3>",
            _table(["node", "why"], [[name, why] for name, why in report.stays_float.items()], 9),
        ]
    return "\n".join(parts)


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
        lines.append("Whether captions are right was not asked: give recordings with captions, --verify CSV.")
    return f"<p>{escape(' '.join(lines))}</p>"


def _score(report: Report) -> str:
    if report.score_after is None or report.score_interval is None:
        return ""
    low, high = report.score_interval
    return f"{report.score_after:.3f} [{low:.3f}, {high:.3f}]"


def _share(part: float | None) -> str:
    return "" if part is None else f"{part:.1%}"


def stage_plot(stages: Sequence[StageTime]) -> str:
    """Two bars for each stage, in milliseconds."""
    longest = max((value for stage in stages for value in (stage.before, stage.after)), default=0.0) or 1.0
    bars = []
    for stage in stages:
        bars.append((f"{stage.name}, float32", stage.before, f"{stage.before:.2f} ms", "#8a93a6"))
        bars.append((f"{stage.name}, this", stage.after, f"{stage.after:.2f} ms ({stage.ratio:.2f})", "#2f6fde"))
    return _bars(bars, longest)


def layer_plot(layers: Sequence[LayerError]) -> str:
    """One bar for each layer, worst first."""
    worst = max((layer.error for layer in layers), default=0.0) or 1.0
    return _bars([(layer.node, layer.error, f"{layer.error:.4f}", "#d07b28") for layer in layers], worst)


def _bars(bars: Iterable[tuple[str, float, str, str]], longest: float) -> str:
    """Horizontal bars as SVG: label, value, what is written behind it, colour."""
    shapes = []
    for number, (label, value, text, colour) in enumerate(bars):
        top, length = number * BAR, max(value / longest, 0.0) * (WIDTH - LABEL - 110)
        shapes.append(
            f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{LABEL}" y="{top + 3}" width="{length:.1f}" height="{BAR - 5}" fill="{colour}"/>'
            f'<text x="{LABEL + length + 6:.1f}" y="{top + 13}">{escape(text)}</text>'
        )
    height = len(shapes) * BAR + 4
    return (
        f'<div class="wide"><svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img">{"".join(shapes)}</svg></div>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """A table whose columns from `numbers_from` on are numbers."""

    def cells(kind: str, row: Sequence[str]) -> str:
        opening = (f'<{kind} class="number">' if index >= numbers_from else f"<{kind}>" for index in range(len(row)))
        return "".join(f"{tag}{escape(cell)}</{kind}>" for tag, cell in zip(opening, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells("th", head)}</tr>{body}</table></div>'
