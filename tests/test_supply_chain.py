"""What a device installs: bounded, locked, hashed, and under licences that are known."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.source_tree import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
ON_A_DEVICE = [Requirement(each) for each in [*PROJECT["dependencies"], *OPTIONAL["mqtt"], *OPTIONAL["media"]]]
HASHED = sorted((REPOSITORY / "requirements").glob("*.txt"))


def entries(path: Path) -> list[str]:
    """The requirements of a file, each with its continuation lines."""
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(path: Path) -> set[tuple[str, str]]:
    """(name, version) of each line; a name may have several versions, for different Pythons."""
    pinned: set[tuple[str, str]] = set()
    for line in entries(path):
        requirement = Requirement(line.partition(" --hash")[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        pinned.add((canonicalize_name(requirement.name), specifier.version))
    return pinned


@pytest.mark.parametrize("path", HASHED, ids=lambda path: path.stem)
def test_each_locked_release_is_pinned_with_hashes_and_without_an_address(path: Path) -> None:
    assert pins(path)
    for line in entries(path):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", line), line
        assert "://" not in line
        assert not line.startswith("-")


def test_a_device_installs_the_releases_that_the_tests_ran_with() -> None:
    device = pins(REPOSITORY / "requirements" / "device.txt")
    tested = pins(REPOSITORY / "constraints.txt")
    assert device <= tested, "type: scripts/lock --hashes"
    names = {name for name, _ in device}
    assert names >= {canonicalize_name(requirement.name) for requirement in ON_A_DEVICE}


def test_what_a_device_needs_is_bounded_on_both_sides_around_the_locked_release() -> None:
    device = pins(REPOSITORY / "requirements" / "device.txt")
    for requirement in ON_A_DEVICE:
        assert {">=", "<"} == {each.operator for each in requirement.specifier}, requirement
        versions = [version for name, version in device if name == canonicalize_name(requirement.name)]
        assert versions
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_licences_of_what_is_installed_are_listed_and_allowed() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "licences", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0 faults" in done.stdout


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("licences", str(REPOSITORY / "scripts" / "licences"))
    module = module_from_spec(spec_from_loader("licences", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("LGPL-2.1-or-later", True),
        ("AGPL-3.0-or-later", False),
        ("not stated", False),
    ],
)
def test_a_licence_that_takes_more_than_it_is_worth_is_refused(
    script: ModuleType, expression: str, allowed: bool
) -> None:
    assert script.allowed(expression) is allowed
