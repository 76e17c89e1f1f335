"""axe-core, which finds what keeps people with a disability from using a page: fetched from npm, in one version."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from selenium.webdriver import Chrome

from loopback import GUARD

PACKAGE = "axe-core@4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
"""Of its axe.min.js."""
FETCH_SECONDS = 120
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ["violations"] }).then((results) => done(results.violations.map((one) =>
  [one.impact, one.id, one.nodes.map((node) => node.html + ": " + node.failureSummary)])));"""


@cache
def script() -> str | None:
    """The script; None where npm cannot give it."""
    npm = shutil.which("npm")
    with TemporaryDirectory() as folder:
        command = [npm or "", "pack", "--silent", "--pack-destination", folder, PACKAGE]
        try:
            with GUARD.lifted():
                subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError):
            return None
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            file = package.extractfile("package/axe.min.js")
            assert file is not None
            data = file.read()
    assert hashlib.sha256(data).hexdigest() == SHA256
    return data.decode()


def serious(browser: Chrome) -> list[Any]:
    """The serious and critical faults of the page as it is now, each with its places; skips without axe-core."""
    source = script()
    if source is None:
        pytest.skip(f"npm cannot fetch {PACKAGE}; install npm, and allow it to reach its registry")
    browser.execute_script(source)
    faults = browser.execute_async_script(RUN)
    return [fault for fault in faults if fault[0] in {"serious", "critical"}]
