"""The model of a Pi as its section of RESULTS.md, made from the comparisons that were measured elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from edgecap_bench.arm.prediction import PUBLISHED, Known, Precision, Tried, carried_over, on_board, predict, tried
from edgecap_bench.comparison.results import Comparison, read_comparison
from edgecap_bench.reports.registry import Part
from edgecap_bench.reports.tables import Page, Sheet, amount, count, markdown, spread

PI_4, PI_5 = "Raspberry Pi 4", "Raspberry Pi 5"
NOTES = (
    "Predicted, not measured, and only for encoders: multiply-adds counted in edgecap's graphs, over the multiply-adds "
    "a second of networks whose times on the board are published, all threads of the board. The range is from the "
    "fastest of those networks to the slowest.",
    "The published times are XNNPACK's own of MobileNets and BirdNET's in LiteRT: the kernels that LiteRT and "
    "ExecuTorch run. ONNX Runtime has others. No int8 time is published of a like network on a Pi 5.",
    "Of a Pi 5 one network's time is known. The others' there are those of a Pi 4 times the ratio of that one, 0.60, "
    "so the error on a Pi 5 cannot be told; the second table shows it for what is known.",
)


def section(paths: Sequence[Path]) -> Part:
    """The section for all comparisons; empty where none has a bundle whose work was counted. Raises ResultError."""
    contests = [read_comparison(path) for path in paths]
    measured = [known for contest in contests for known in encoders(contest)]
    if not measured:
        return Part("")
    page = Page(
        title="A Raspberry Pi's times, predicted",
        notes=list(NOTES),
        sheets=[_predictions(measured), _errors([*PUBLISHED, *measured])],
        provenance=["From the comparisons above and edgecap_bench.arm.prediction"],
    )
    return Part(markdown(page, 2))


def encoders(contest: Comparison) -> list[Known]:
    """The encoders of a comparison's bundles, with their work and their median time, by network and precision."""
    precisions: dict[str, Precision] = {"fp32": "fp32", "int8": "int8"}
    return [
        Known(
            contest.machine.processor,
            entrant.key,
            precisions[entrant.precision],
            entrant.encoder_multiply_adds,
            median(entrant.seconds["encoder"]),
        )
        for entrant in contest.entrants
        if entrant.kind == "bundle"
        and entrant.precision in precisions
        and entrant.encoder_multiply_adds
        and entrant.seconds["encoder"]
    ]


def _predictions(measured: Sequence[Known]) -> Sheet:
    rows: list[tuple[str, ...]] = []
    for known in dict.fromkeys((each.network, each.precision, each.multiply_adds) for each in measured):
        network, precision, work = known
        pi_4 = on_board(PI_4, precision)
        for board, published in ((PI_4, pi_4), (PI_5, carried_over(pi_4, on_board(PI_5, precision)))):
            if published:
                made = predict(work, published)
                rows.append(
                    (
                        network,
                        precision,
                        count(round(work)),
                        board,
                        amount(made.seconds, "s"),
                        spread(made.low, made.high, "s"),
                        ", ".join(made.made_from),
                    )
                )
    return Sheet(
        "Predictions of encoders",
        ("Network", "Precision", "Multiply-adds", "Board", "Predicted", "Range", "Made from"),
        rows,
    )


def _errors(known: Sequence[Known]) -> Sheet:
    rows: list[tuple[str, ...]] = [_error_row(each) for each in tried(known)]
    return Sheet(
        "The same made for what is known, each network from the others",
        ("Machine", "Network", "Precision", "Known", "Predicted", "Error"),
        rows,
    )


def _error_row(found: Tried) -> tuple[str, ...]:
    known = found.known
    return (
        known.machine,
        known.network,
        known.precision,
        amount(known.seconds, "s"),
        amount(found.prediction.seconds, "s"),
        f"{found.error:+.0%}",
    )
