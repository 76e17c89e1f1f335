"""A report on the console."""

from __future__ import annotations

from edgecap.cli.console import table
from edgecap_export.bundle.reports import Report
from edgecap_export.quantisation.layers import LayerError

SHOWN_LAYERS = 10


def report_lines(report: Report) -> list[str]:
    """A report for people."""
    lines = [
        f"{report.name} for {report.runtime}, {report.recipe.name}: {report.size_after / 1e6:.1f} MB, "
        f"{report.size_after / report.size_before:.2f} of float32's {report.size_before / 1e6:.1f} MB",
        "",
    ]
    lines += table(
        ["stage (processor time)", "float32 ONNX", "this", "ratio"],
        [
            [stage.name, f"{stage.before:.2f} ms", f"{stage.after:.2f} ms", f"{stage.ratio:.2f}"]
            for stage in report.stages
        ],
    )
    kinds = [
        [kind, str(count)]
        for kind, count in report.operators.items()
        if "(int8)" in kind or "onv" in kind or "elegate" in kind
    ]
    if kinds:
        lines += ["", *table(["operators", "number"], kinds)]
    lines.append("")
    if report.delegated is not None:
        lines.append(f"{report.delegated:.1%} of the operators run in the delegate")
    if report.layers:
        lines += [*layer_lines(report.layers, report.recipe.precision), ""]
    if report.same_captions is not None and report.same_tokens is not None:
        lines.append(
            f"the same caption as float32 ONNX for {report.same_captions:.0%} of {report.compared} sounds, "
            f"PyTorch's tokens for {report.same_tokens:.0%}"
        )
    if report.score_before is not None and report.score_after is not None and report.score_interval is not None:
        low, high = report.score_interval
        lines.append(f"CIDEr-D {report.score_after:.3f} [{low:.3f}, {high:.3f}], float32 {report.score_before:.3f}")
    return lines


def layer_lines(layers: list[LayerError], precision: str, most: int = SHOWN_LAYERS) -> list[str]:
    """The worst layers, as a table."""
    rows = [[layer.node, f"{layer.error:.2g}"] for layer in layers[:most]]
    shown = f"worst of {len(layers)} {precision} layers" if most < len(layers) else f"{precision} layer"
    return table([shown, f"change of the decoder's keys, it alone in {precision}"], rows)
