"""The tests' own conditions: the locked releases that they run with, and a parent that ignores Ctrl-C."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from edgecap.util.lasting_id import LastingId
from support.source_tree import REPOSITORY


def test_ctrl_c_reaches_this_process_and_its_children() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_what_lasts_is_kept_in_a_folder_of_the_tests_and_not_in_the_users(state_home: Path) -> None:
    taken = LastingId("test-conditions", [])
    taken.close()
    assert (state_home / "edgecap" / f"test-conditions-{taken.text}").is_file()
    assert not list((Path.home() / ".local/state/edgecap").glob("test-conditions*"))


def test_the_tests_run_under_a_parent_that_ignores_ctrl_c() -> None:
    name = f"{__file__}::{test_ctrl_c_reaches_this_process_and_its_children.__name__}"
    done = subprocess.run(
        [
            "bash",
            "-c",
            "trap '' INT; exec \"$@\"",
            "bash",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            name,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_every_declared_dependency_is_locked_to_a_release_that_satisfies_it() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    locked = {}
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            release = Requirement(line)
            if release.marker is None or release.marker.evaluate():
                locked[release.name.lower()] = str(release.specifier).removeprefix("==")
    requirements = [Requirement(line) for line in declared]
    names = {requirement.name.lower() for requirement in requirements} - {"edgecap"}
    assert sorted(names - locked.keys()) == []
    for requirement in requirements:
        if requirement.name != "edgecap":
            assert requirement.specifier.contains(locked[requirement.name.lower()]), str(requirement)


def test_files_that_share_what_is_slow_to_make_stay_in_one_process() -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    from support.parallel.scheduling import group_of

    assert group_of("tests/test_conditions.py") == "tests/test_conditions.py"
    assert group_of("tests/test_embed.py") == group_of("tests/runtime/inference/test_litert_session.py") == "exports"
    assert group_of("tests/train/distill/test_ray_train.py") == group_of("tests/runtime/cluster/test_pool.py") == "ray"
    assert group_of("tests/bench/live/test_site_bench.py") == group_of("tests/export/web/test_web_site.py") == "pages"
