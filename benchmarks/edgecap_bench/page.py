"""Is the live page light, and smooth at 30 updates a second?

    python -m edgecap_bench.page --json benchmarks/results/page.json

A real server is given log-mel frames thirty times a second, as the listener gives them, and a real headless Chromium
(which draws with the processor alone) shows them. The page counts what it gets and when it draws. Exit code 0 where
all wishes are kept, 1 where one is not.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import typer

from edgecap.captioner import Captioner
from edgecap.cli.console import say
from edgecap.errors import EdgecapError
from edgecap.live.config import ListenConfig, WebConfig
from edgecap.live.event import Change, Event
from edgecap.live.status import Status
from edgecap.web.assets import load_assets
from edgecap.web.broadcast import Watcher
from edgecap.web.page import LivePage
from edgecap_bench.chromium import chromium
from edgecap_bench.machine import Machine, this_machine, versions
from edgecap_bench.results import check_place, write_whole
from edgecap_bench.soak_result import Finding

FORMAT: Literal["edgecap-bench-page"] = "edgecap-bench-page"
FORMAT_VERSION = 1
UPDATES = 30
"""Updates a second."""
MOST_BYTES = 60_000
FEWEST_PICTURES = 28.0
"""Pictures a second: all that 30 a second leave where one is late now and then."""
LONGEST_PICTURE = 0.05
"""Seconds between two pictures that 95 of 100 keep within: one that is late by half, none that is missed."""
LONGEST_TASK = 0.05
"""Seconds after which a visitor feels that the page does not answer (the RAIL model)."""
WARM_UP = 3.0
COUNT = """
window.measured = { on: false, updates: 0, busy: 0, pictures: [], long: 0 };
const listen = EventSource.prototype.addEventListener, stroke = CanvasRenderingContext2D.prototype.stroke;
EventSource.prototype.addEventListener = function (kind, take) {
  return listen.call(this, kind, kind !== "sound" ? take : (message) => {
    const began = performance.now();
    take(message);
    if (measured.on) { measured.updates++; measured.busy += performance.now() - began; }
  });
};
CanvasRenderingContext2D.prototype.stroke = function () {
  if (measured.on) measured.pictures.push(performance.now());
  return stroke.call(this);
};
new PerformanceObserver((list) => {
  if (measured.on) for (const task of list.getEntries()) measured.long = Math.max(measured.long, task.duration);
}).observe({ entryTypes: ["longtask"] });
"""
"""Counts in the page: updates and the time they take, pictures (each ends with one line, that of the level), tasks."""


@dataclass(frozen=True, kw_only=True)
class PageResult:
    """One run."""

    format: Literal["edgecap-bench-page"]
    format_version: int
    date: str
    command: str
    machine: Machine
    versions: dict[str, str]
    page_bytes: int
    """All files of the page."""
    seconds: float
    """Time for which it was counted."""
    told: int
    """Updates that the server told."""
    taken: int
    """Updates that the page took."""
    dropped: int
    """Updates that the server dropped because the page was slow."""
    update_seconds: float
    """Time that the page takes for one update, mean."""
    pictures: int
    picture_seconds: list[float]
    """Time between two pictures: median, and what 95 and 99 of 100 keep within."""
    longest_task_seconds: float
    """The longest task of the page; 0 where none took longer than the 50 ms that browsers report."""
    server_share: float
    """Processor time of feeding and serving, share of one core."""


def measure(captioner: Captioner, seconds: float) -> dict[str, Any]:
    """Count for `seconds` what a page does at 30 updates a second."""
    live = LivePage(ListenConfig(web=WebConfig(address="0")), captioner, lambda *_: None)
    try:
        with tempfile.TemporaryDirectory(prefix="edgecap-page-") as folder, chromium(Path(folder)) as browser:
            browser.set_window_size(1100, 1400)
            browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": COUNT})
            browser.get(live.url)
            with _feed(live, captioner.manifest.front_end.n_mels) as told:
                time.sleep(WARM_UP)
                told_before, worked = told[0], time.process_time()
                browser.execute_script("measured.on = true")
                began = time.monotonic()
                time.sleep(seconds)
                counted = browser.execute_script("measured.on = false; return measured")
                lasted = time.monotonic() - began
                told_after, worked = told[0], time.process_time() - worked
                dropped = sum(watcher.dropped for watcher in live.broadcast.watchers)
    finally:
        live.close()
    gaps = np.diff(counted["pictures"]) / 1000.0
    return {
        "seconds": lasted, "told": told_after - told_before, "taken": counted["updates"], "dropped": dropped,
        "update_seconds": counted["busy"] / 1000.0 / max(1, counted["updates"]), "pictures": len(counted["pictures"]),
        "picture_seconds": [float(value) for value in np.percentile(gaps, [50, 95, 99])] if gaps.size else [],
        "longest_task_seconds": counted["long"] / 1000.0, "server_share": worked / lasted,
    }


@contextmanager
def _feed(live: LivePage, bands: int) -> Iterator[list[int]]:
    """Sound and an event every two seconds, from a thread; the number of updates told so far."""
    told, stop, random = [0], threading.Event(), np.random.default_rng(0)
    (watcher,) = until_watched(live)
    put = watcher.put

    def count(message: bytes, *, keep: bool) -> None:
        told[0] += message.startswith(b"event: sound")
        put(message, keep=keep)

    watcher.put = count  # type: ignore[method-assign]

    def feed() -> None:
        began, number, given, frames_given = time.monotonic(), 0, 0, 0
        while not stop.is_set():
            heard = time.monotonic() - began
            frames = random.normal(-10.0, 15.0, (max(0, round(100 * heard) - frames_given), bands))
            frames_given += len(frames)
            live.hear("sound", frames.astype(np.float32))
            live.tick(Status(source="sound", asked_hop=2.0, hop=2.0, heard=heard, level=-30.0 + 10.0 * np.sin(heard)))
            given += 1
            if heard > 2 * number:
                number += 1
                event = Event(number, heard - 2, heard, time.time() - 2, time.time(), "a sound", -0.5, -20.0, 0, True)
                live.change(Change("begin", event))
            stop.wait(max(0.0, began + given / UPDATES - time.monotonic()))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def until_watched(live: LivePage) -> frozenset[Watcher]:
    """The page's browser, as soon as it follows."""
    while not live.broadcast.watchers:
        time.sleep(0.05)
    return live.broadcast.watchers


def findings(result: PageResult) -> list[Finding]:
    """What is wished for, and whether it is so."""
    rate, share = result.pictures / result.seconds, result.taken / max(1, result.told)
    middle, most = (result.picture_seconds or [float("inf")] * 3)[:2]
    return [
        Finding("weight of the page", f"{result.page_bytes / 1000:.1f} kB", f"at most {MOST_BYTES / 1000:g} kB",
                result.page_bytes <= MOST_BYTES),
        Finding("updates", f"{result.told / result.seconds:.1f} a second, {100 * share:.1f} % taken, {result.dropped} "
                           "dropped", "none dropped", result.dropped == 0 and share >= 0.98),
        Finding("time for an update", f"{1000 * result.update_seconds:.2f} ms", "", True),
        Finding("pictures", f"{rate:.1f} a second", f"at least {FEWEST_PICTURES:g}", rate >= FEWEST_PICTURES),
        Finding("between two pictures", f"{1000 * middle:.0f} ms, 95 of 100 within {1000 * most:.0f} ms",
                f"95 of 100 within {1000 * LONGEST_PICTURE:g} ms", most <= LONGEST_PICTURE),
        Finding("longest task", f"{1000 * result.longest_task_seconds:.0f} ms" if result.longest_task_seconds
                else "below 50 ms", f"at most {1000 * LONGEST_TASK:g} ms", result.longest_task_seconds <= LONGEST_TASK),
        Finding("server", f"{100 * result.server_share:.1f} % of one core", "", True),
    ]


def page(
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1, metavar="S", help="Time to count for.")] = 20.0,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result to FILE.")] = None,
) -> None:
    """Show 30 updates a second in a headless Chromium, and count what it takes and draws."""
    if json:
        check_place(json)
    counted = measure(Captioner.load(threads=1), seconds)
    result = PageResult(
        format=FORMAT, format_version=FORMAT_VERSION, date=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=f"python -m edgecap_bench.page --seconds {seconds:g}", machine=this_machine(), versions=versions(),
        page_bytes=sum(len(asset.body) for asset in load_assets().values()), **counted,
    )  # fmt: skip
    if json:
        write_whole(json, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    found = findings(result)
    for one in found:
        sys.stdout.write("  ".join((one.name, one.found, one.wanted, one.verdict)).rstrip() + "\n")
    if not all(one.kept for one in found):
        raise typer.Exit(1)


def main() -> None:
    """Run it."""
    try:
        typer.run(page)
    except EdgecapError as error:
        say("error", str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
