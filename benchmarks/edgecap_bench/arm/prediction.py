"""A model of a Raspberry Pi: predicts the time of a network from its counted work and published times of others.

A prediction, never a measurement. It says that a network takes as long for each multiply-add as the networks whose
times are published for the board do, and shows how far that is off wherever both are known: each published network
predicted from the others of its board, and networks of edgecap's own that were measured on another machine.

Published times (all threads of the board):

- XNNPACK's own benchmark of MobileNets on a Pi 4 (README of google/XNNPACK, "RPi 4 (BCM2711, ARM64)", 8 February 2022).
  LiteRT and ExecuTorch run these same kernels. Multiply-adds as the MobileNets' papers count them (arXiv 1704.04861,
  table 8; 1801.04381, table 4; 1905.02244, table 3).
- BirdNET 2.4 in LiteRT on a Pi 4 and a Pi 5, a 3 s window: 0.83 GFLOP, of which a multiply-add is two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Precision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class Known:
    """A network whose work and time on a machine are both known."""

    machine: str
    network: str
    precision: Precision
    multiply_adds: float
    seconds: float

    @property
    def rate(self) -> float:
        """Multiply-adds a second."""
        return self.multiply_adds / self.seconds


PUBLISHED = (
    Known("Raspberry Pi 4", "MobileNet v1", "fp32", 569e6, 0.077),
    Known("Raspberry Pi 4", "MobileNet v2", "fp32", 300e6, 0.046),
    Known("Raspberry Pi 4", "MobileNet v3 Large", "fp32", 219e6, 0.040),
    Known("Raspberry Pi 4", "MobileNet v3 Small", "fp32", 56e6, 0.015),
    Known("Raspberry Pi 4", "BirdNET 2.4", "fp32", 0.83e9 / 2, 0.166),
    Known("Raspberry Pi 4", "MobileNet v1", "int8", 569e6, 0.024),
    Known("Raspberry Pi 4", "MobileNet v2", "int8", 300e6, 0.017),
    Known("Raspberry Pi 5", "BirdNET 2.4", "fp32", 0.83e9 / 2, 0.100),
)


@dataclass(frozen=True)
class Prediction:
    """A time that nobody measured."""

    seconds: float
    """From the geometric mean of the rates of the networks it was made from."""
    low: float
    """From the fastest of them."""
    high: float
    """From the slowest."""
    made_from: tuple[str, ...]


@dataclass(frozen=True)
class Tried:
    """A prediction of something that is known."""

    known: Known
    prediction: Prediction

    @property
    def error(self) -> float:
        """How far the prediction is off: 0.2 is a fifth too long, -0.2 a fifth too short."""
        return self.prediction.seconds / self.known.seconds - 1.0


def predict(multiply_adds: float, known: Sequence[Known]) -> Prediction:
    """The time of a network of so much work on the machine of `known`, in their precision.

    Raises ValueError for none, and for more than one machine or precision.
    """
    if len({(each.machine, each.precision) for each in known}) != 1:
        raise ValueError("a prediction is made from networks of one machine and one precision")
    rates = [each.rate for each in known]
    mean = math.exp(sum(map(math.log, rates)) / len(rates))
    return Prediction(
        multiply_adds / mean,
        multiply_adds / max(rates),
        multiply_adds / min(rates),
        tuple(each.network for each in known),
    )


def tried(known: Sequence[Known]) -> list[Tried]:
    """Each known network predicted from the others of its machine and precision, where there are others."""
    found = []
    for each in known:
        others = [
            other
            for other in known
            if (other.machine, other.precision) == (each.machine, each.precision) and other.network != each.network
        ]
        if others:
            found.append(Tried(each, predict(each.multiply_adds, others)))
    return found


def on_board(board: str, precision: Precision, known: Sequence[Known] = PUBLISHED) -> list[Known]:
    """What is known of a board in a precision."""
    return [each for each in known if (each.machine, each.precision) == (board, precision)]


def carried_over(known: Sequence[Known], to: Sequence[Known]) -> list[Known]:
    """What is known of one board as it would be on another: times the geometric mean of the ratio of the networks
    that are known on both. Empty where there are none.
    """
    there = {each.network: each for each in to}
    ratios = [there[each.network].seconds / each.seconds for each in known if each.network in there]
    if not ratios:
        return []
    ratio = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return [replace(each, machine=to[0].machine, seconds=each.seconds * ratio) for each in known]
