"""Parts that many tests need: a tiny real model, real sound files, the command line as a child process."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from edgecap.captioner import Captioner
from loopback import GUARD
from support.parallel.untraced import untraced
from support.signals import RATE, noise, tone
from support.tiny_model import write_tiny_bundle
from support.virtual_microphone import long_noise, microphone

__all__ = ["long_noise", "microphone"]  # fixtures

if TYPE_CHECKING:
    from support.exports.exported import Export


# A parent that ignores Ctrl-C (nohup, `&` in a script, some CI) hands that down to us and to every child that a test
# interrupts. With a handler here, children start with the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["EDGECAP_ENGINE"] = "local"  # Ray takes seconds to start; the tests of it say so


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Prepare a process that runs tests; one that only hands them to others (`-n 2`) leaves them their way out."""
    if not config.getoption("numprocesses", None):
        os.environ.pop("PYTEST_ADDOPTS", None)  # options of this run, such as --cov, are not for runs that tests start
        GUARD.start()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """How tests are divided between processes."""
    from support.parallel.scheduling import SharedWorkScheduling

    return SharedWorkScheduling(config, log)


UNTRACED = (Path("export"), Path("runtime/inference"))
"""Folders of tests that run converters, which take up to twice as long under coverage's tracer."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Stop measuring coverage (`--cov`) for the tests of UNTRACED, with their fixtures."""
    folder = item.path.relative_to(Path(__file__).parent)
    with untraced() if any(folder.is_relative_to(each) for each in UNTRACED) else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where tests, and what they start, keep what must last; the user's own folder stays as it was."""
    own = Path.home() / ".local/state/edgecap"
    before = {path.name: path.stat().st_mtime_ns for path in own.glob("*")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("STATE_DIRECTORY", raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield Path(os.environ["XDG_STATE_HOME"])
    after = {path.name: path.stat().st_mtime_ns for path in own.glob("*")}
    assert after == before, f"a test, or an edgecap that ran beside the tests, wrote to {own}"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with tiny real graphs. Do not change it; write your own where you must."""
    return write_tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="session")
def captioner(tiny_folder: Path) -> Captioner:
    return Captioner.load(tiny_folder, threads=1)


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with noise.wav (3 s), tone.flac (3 s, stereo, 44.1 kHz), silence.wav (3 s) and long.wav (25 s)."""
    folder = tmp_path_factory.mktemp("sounds")
    soundfile.write(folder / "noise.wav", noise(3), RATE)
    soundfile.write(folder / "tone.flac", np.stack([tone(3, 44_100)] * 2, axis=1), 44_100)
    soundfile.write(folder / "silence.wav", np.zeros(3 * RATE, np.float32), RATE)
    soundfile.write(folder / "long.wav", np.concatenate([noise(10), np.zeros(10 * RATE), tone(5)]), RATE)
    return folder


@pytest.fixture
def edgecap(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `edgecap` as a child process, away from the user's own models and state."""

    def run(*arguments: object, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        places = {"EDGECAP_HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
        environment = {**os.environ, **places, "PYTHONWARNINGS": "error", **(env or {})}
        if "stdout" not in more:
            more["capture_output"] = True
        if "input" not in more and "stdin" not in more:
            more["stdin"] = subprocess.DEVNULL
        text = not isinstance(more.get("input"), bytes)
        done: subprocess.CompletedProcess[Any] = subprocess.run(
            [sys.executable, "-m", "edgecap", *map(str, arguments)],
            env=environment,
            text=text,
            timeout=120,
            check=False,
            **more,
        )
        if not text:
            done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    return run


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of this machine with 4 places for workers; all tests share it."""
    pytest.importorskip("ray", reason="the extra edgecap[ray] is not installed")
    from support.parallel.ray_parts import running_cluster

    with running_cluster() as address:
        yield address


@pytest.fixture
def internet() -> Iterator[None]:
    """For the few tests that fetch something, such as an npm package: the net is there while they run."""
    with GUARD.lifted():
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that EDGECAP_SHARED names: fixtures too large or not free enough for the repository."""
    folder = os.environ.get("EDGECAP_SHARED")
    if not folder:
        pytest.skip("EDGECAP_SHARED is not set (a folder with reference/, parity/, data/, models/)")
    return Path(folder)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports the small student for a runtime in a precision with a kind of input and a place of the search, each once.

    Do not change bundles.
    """
    from support.exports.exported import export

    folder = tmp_path_factory.mktemp("exported")
    return functools.cache(
        lambda runtime, precision, kind="log_mel", search="outside": export(
            folder / f"{runtime}-{precision}-{kind}-{search}", runtime, precision, kind, search
        )
    )


@pytest.fixture(scope="session")
def litert(exported: Export) -> Export:
    """Exports the small student for LiteRT in a precision with a kind of input, each once."""
    return functools.partial(exported, "litert")
