"""A listener uses one thread, and more only where its captions would not fit into a hop."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecap.live.config.listen_config import ListenConfig, ModelConfig
from edgecap.live.threads import choose_threads, load_listening


@pytest.mark.parametrize(
    ("seconds", "streams", "cores", "threads", "reason"),
    [
        (0.01, 1, 4, 1, "captions need 0.5 % of a hop on one"),
        (0.01, 16, 4, 1, "captions need 8.0 % of a hop on one"),
        (0.12, 16, 4, 4, "captions need 96 % of a hop on one"),
        (3.0, 1, 2, 2, "captions need 150 % of a hop on one"),
        (3.0, 1, 64, 4, "captions need 150 % of a hop on one"),
        (3.0, 1, 1, 1, "there is one core"),
    ],
)
def test_the_choice_has_its_reason(seconds: float, streams: int, cores: int, threads: int, reason: str) -> None:
    choice = choose_threads(seconds, hop=2.0, streams=streams, asked=None, cores=cores)
    assert choice.threads == threads
    assert reason in choice.reason


@pytest.mark.parametrize(("seconds", "asked"), [(3.0, 1), (0.01, 3)])
def test_the_number_that_is_asked_for_is_used(seconds: float, asked: int) -> None:
    choice = choose_threads(seconds, hop=2.0, streams=1, asked=asked, cores=4)
    assert (choice.threads, choice.reason) == (asked, "as configured")


@pytest.mark.parametrize(("took", "threads"), [(0.01, 1), (1.9, 2)])
def test_the_model_is_timed_before_it_listens(tiny_folder: Path, took: float, threads: int) -> None:
    times = iter((10.0, 10.0 + took))
    config = ListenConfig(model=ModelConfig(name=str(tiny_folder)))
    captioner, choice = load_listening(config, 1, cores=2, clock=lambda: next(times))
    assert choice.threads == threads
    assert captioner.bundle.folder == tiny_folder
