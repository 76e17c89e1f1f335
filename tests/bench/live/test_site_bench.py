"""What is shown of the hardware below the page without a server."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from edgecap.bundle.bundle import Bundle
from edgecap_bench.live import site
from edgecap_bench.live.site import hardware
from edgecap_export.web.graphs import page_bundle
from support.node_parts import web_runtime
from support.parallel.untraced import untraced

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with a sound, and a file that is none; the test is skipped where there is no browser or no runtime."""
    web_runtime(tmp_path / "runtime")
    pytest.importorskip("selenium", reason="selenium is not installed")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("Chromium or its driver is not installed")
    folder = tmp_path / "sounds"
    folder.mkdir()
    shutil.copy(EXAMPLES / "dog.ogg", folder)
    (folder / "notes.txt").write_text("a dog")
    return folder


@contextmanager
def converted(bundle: Bundle) -> Iterator[Bundle]:
    """As `page_bundle`, without coverage's tracer."""
    with ExitStack() as stack:
        with untraced():
            page = stack.enter_context(page_bundle(bundle))
        yield page


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a second thread needs a second processor")
def test_an_isolated_page_has_more_threads_and_both_tell_their_memory(
    sounds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "WARM_UP", 1)  # times are not looked at here
    monkeypatch.setattr(site, "page_bundle", converted)
    rows = {one.name: one.measured for one in hardware(None, sounds)}
    captions, memory = ([name for name in rows if name.startswith(kind)] for kind in ("a caption", "memory"))
    assert captions[0] == "a caption, 1 thread"
    assert re.fullmatch(r"a caption, [2-4] threads", captions[1])
    for name in memory:
        after, before = map(int, re.findall(r"(\d+) MB", rows[name]))
        assert 0 < before < after < 1000
    assert len(memory) == 2
    assert rows["WebGPU"]
