"""Workers on Ray: what they give, and what happens when one is killed, refuses or is of another version."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from edgecap.cluster import pool, session
from edgecap.cluster.pool import RayWorkers, map_items
from edgecap.cluster.session import Workers, check_release, share
from edgecap.cluster.worker import Make
from edgecap.errors import AudioError, ConfigError, MissingDependencyError, RunError
from support.parallel import ray_parts
from support.ports import refusing_port


@contextmanager
def workers(make: Make[int, int], address: str, count: int = 2) -> Iterator[RayWorkers[int, int]]:
    pool = RayWorkers(make, Workers(count=count, threads=1, address=address), name=lambda item: f"item {item}")
    try:
        yield pool
    finally:
        pool.close()


@pytest.mark.parametrize("count", [1, 2])
def test_workers_give_what_one_process_gives_and_stay_for_the_next_items(ray_cluster: str, count: int) -> None:
    make = partial(ray_parts.times, 10)
    with workers(make, ray_cluster, count) as ray:
        assert sorted(ray.map(range(7))) == list(map_items(make, range(7), None))
        assert list(ray.map([8])) == [80]
        assert list(ray.map([])) == []


def test_each_worker_has_its_threads_and_what_it_logs_is_logged_here(
    ray_cluster: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = Workers(count=1, threads=2, address=ray_cluster)
    with caplog.at_level(logging.WARNING):
        assert list(map_items(ray_parts.warns, [5], asked)) == [(2, "2")]
    assert "item 5" in caplog.messages
    assert capfd.readouterr().out == ""


def test_an_item_whose_worker_is_killed_is_done_again_and_one_that_kills_each_is_left(
    ray_cluster: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    done: list[int] = []
    with workers(partial(ray_parts.deadly, tmp_path), ray_cluster) as ray:
        results = map(done.append, ray.map([1, 2, 3, -1, 4, 5]))
        with pytest.raises(RunError, match="item -1: 3 workers ended in the middle of it") as refused:
            deque(results)
        assert sorted(done) == [1, 2, 3, 4, 5]
        assert refused.value.exit_code == 13
        assert "a worker ended in the middle of item 3; another does it again" in caplog.messages
        assert sorted(ray.map([6, 7])) == [6, 7]
    assert capfd.readouterr().out == ""  # where results go; Ray would print there


def test_a_fault_is_raised_as_it_is(ray_cluster: str, tmp_path: Path) -> None:
    with (
        workers(partial(ray_parts.refuses, AudioError("no sound"), tmp_path), ray_cluster, 1) as ray,
        pytest.raises(AudioError, match="no sound"),
    ):
        list(ray.map([1, 2, 3]))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]  # nothing more was begun
    with (
        workers(partial(ray_parts.broken, ConfigError("another model")), ray_cluster) as ray,
        pytest.raises(ConfigError, match="another model"),
    ):
        list(ray.map([1]))


def test_a_node_with_another_edgecap_is_named(ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "__version__", "99.0")
    with (
        workers(partial(ray_parts.times, 2), ray_cluster) as ray,
        pytest.raises(MissingDependencyError, match=r"Ray's node \S+ has edgecap \S+; install edgecap 99.0 there"),
    ):
        list(ray.map([1]))


def test_the_address_of_a_cluster_that_is_not_there_is_refused_at_once() -> None:
    with refusing_port() as port, workers(partial(ray_parts.times, 2), f"ray://127.0.0.1:{port}") as ray:
        with pytest.raises(RunError, match=f"no Ray cluster answers at ray://127.0.0.1:{port}"):
            list(ray.map([1]))
        assert list(ray.map([])) == []  # nothing to do needs no cluster
    for address in ("nowhere", "ray://", "host:port"):
        with (
            workers(partial(ray_parts.times, 2), address) as ray,
            pytest.raises(ConfigError, match="is no address of a Ray cluster"),
        ):
            list(ray.map([1]))


@pytest.mark.parametrize(
    ("workers", "cores", "shared"),
    [
        (Workers(), 8, (8, 1)),
        (Workers(count=2), 8, (2, 4)),
        (Workers(count=3), 8, (3, 2)),
        (Workers(threads=4), 8, (2, 4)),
        (Workers(threads=16), 8, (1, 16)),
        (Workers(count=2, threads=1), 8, (2, 1)),
    ],
)
def test_the_workers_threads_together_are_the_cores(workers: Workers, cores: int, shared: tuple[int, int]) -> None:
    assert share(workers, cores) == shared


def test_more_workers_than_cores_and_fewer_than_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="has 2 cores, so 3 workers are no faster"):
        share(Workers(count=3), 2)
    with pytest.raises(ConfigError, match="count must be at least 1"):
        Workers(count=0)


def test_a_release_of_ray_that_was_not_tested_is_warned_of_and_one_out_of_bounds_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check_release("2.60.3")
    assert caplog.messages == []
    check_release("2.61.0rc1")
    assert caplog.messages == ["Ray 2.61.0rc1 is installed, and edgecap is tested with Ray 2.60; it may work"]
    for version in ("2.49.2", "3.0.0"):
        with pytest.raises(MissingDependencyError, match=f"Ray {version} cannot be used"):
            check_release(version)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"edgecap, or pip install \"WHEEL\[ray\]\""):
        session.load_ray()
