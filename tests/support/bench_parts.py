"""Measurements and comparisons, made up, for the tests of what is read out of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import pytest

from edgecap.cli import run
from edgecap_bench.comparison.results import STAGES, CandidateResult, Comparison
from edgecap_bench.reports.measurement import Body, Measurement, MeasurementStart

T = TypeVar("T", bound=Body)


@dataclass(frozen=True)
class Done:
    """What a command line came to."""

    code: int
    out: str
    err: str


def bench(capsys: pytest.CaptureFixture[str], *arguments: object) -> Done:
    """`edgecap bench` in this process; its errors in one line each, without the frames that typer draws."""
    code = run(["bench", *map(str, arguments)])
    out, err = capsys.readouterr()
    return Done(code, out, " ".join(err.replace("│", " ").split()))


def measured(body: T, **header: object) -> Measurement[T]:
    """A measurement of `body` on this machine, quiet and complete unless `header` says otherwise."""
    return with_header(MeasurementStart("edgecap bench").end(body), others_before=0.0, **header)


def with_header(measurement: Measurement[T], **header: object) -> Measurement[T]:
    """The same measurement under other circumstances."""
    return Measurement(replace(measurement.header, **header), measurement.body)  # type: ignore[arg-type]


def candidate(key: str, seconds: list[float], **more: object) -> CandidateResult:
    fields = {
        "key": key,
        "kind": "bundle",
        "label": key,
        "precision": "fp32",
        "random_weights": False,
        "size_bytes": 1_000_000,
        "load_seconds": 0.5,
        "peak_bytes": 50_000_000,
        "parameters": 5_000_000,
        "encoder_multiply_adds": 7,
        "decoder_multiply_adds": 3,
        "seconds": dict.fromkeys(STAGES, seconds),
    }
    return msgspec.convert({**fields, **more}, CandidateResult)


def comparison_of(*candidates: CandidateResult) -> Comparison:
    return Comparison(
        threads=1,
        beam=3,
        tokens=12,
        clips=["hum"],
        clip_seconds=10.0,
        rounds=candidates[0].caption.count,
        candidates=list(candidates),
    )
