"""Results of comparisons, made up, for the tests of what is read out of them."""

from __future__ import annotations

import msgspec

from edgecap_bench.comparison.results import FORMAT, FORMAT_VERSION, STAGES, Comparison, Entrant
from edgecap_bench.harness.machine import this_machine


def entrant(key: str, seconds: list[float], **more: object) -> Entrant:
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
    return msgspec.convert({**fields, **more}, Entrant)


def contest_of(*entrants: Entrant) -> Comparison:
    return Comparison(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        date="2026-11-23T04:00:00+00:00",
        command="edgecap bench",
        machine=this_machine(),
        versions={"python": "3.11"},
        threads=1,
        beam=3,
        tokens=12,
        clips=["hum"],
        clip_seconds=10.0,
        rounds=len(entrants[0].seconds["caption"]),
        others_before=0.0,
        others_during=0.0,
        noisy=False,
        partial=False,
        entrants=list(entrants),
    )
