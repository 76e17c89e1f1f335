"""What tests of JavaScript modules need: Node, and packages from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edgecap.errors import DownloadError, MissingDependencyError
from edgecap_export.web.onnxruntime_web import npm_archive, onnxruntime_web
from loopback import GUARD

MODULES = Path(__file__).parents[3] / "export" / "edgecap_export" / "web" / "static"
LEAST_NODE = 18
AXE_VERSION = "4.14.1"
Value = TypeVar("Value")


def node(script: str, document: object = None, *, modules: Path = MODULES, timeout: float = 300.0) -> Any:
    """What an ES module prints as JSON; `input` in it is `document`, and `./NAME.js` a file of `modules`.

    The test is skipped without Node, or with one that is too old.
    """
    program = shutil.which("node")
    if program is None:
        pytest.skip("Node was not found; sudo apt install nodejs")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < LEAST_NODE:
        pytest.skip(f"Node is {version.strip()}, and the modules need {LEAST_NODE} or later")
    script = script.replace('from "./', f'from "{modules.as_uri()}/')
    reading = 'import { readFileSync } from "node:fs"; const input = JSON.parse(readFileSync(0));'
    done = subprocess.run(
        [program, "--input-type=module", "--eval", f"{reading}\n{script}"],
        input=json.dumps(document),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "NODE_OPTIONS": ""},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def web_runtime(folder: Path) -> Path:
    """`folder` with the files of onnxruntime-web; the test is skipped where they cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _had(onnxruntime_web).items():
        (folder / name).write_bytes(content)
    return folder


def axe() -> str:
    """The script of axe-core, which looks for what keeps people out; the test is skipped where it cannot be had."""
    with tarfile.open(_had(lambda: npm_archive("axe-core", AXE_VERSION))) as archive:
        file = archive.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def _had(get: Callable[[], Value]) -> Value:
    try:
        with GUARD.lifted():
            return get()
    except (DownloadError, MissingDependencyError) as error:
        pytest.skip(str(error))
