"""Is the live page light, and smooth at 30 updates a second?

    python -m edgecap_bench.live.page --json-file benchmarks/results/page.json

A real server gets log-mel frames thirty times a second, as from a listener, and a real headless Chromium (which draws
with the processor alone) shows them. The page counts what it receives and when it draws. Exit code 0 where everything
wanted is reached, 1 where something is not.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edgecap.captioner import Captioner
from edgecap.errors import MeasurementError
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.live.events.event import Change, Event
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.util.files import check_writable
from edgecap.web.assets import load_assets
from edgecap.web.broadcast import Watcher
from edgecap.web.page import LivePage
from edgecap_bench.live.chromium import chromium, evaluate
from edgecap_bench.live.page_result import PageUpdates, criteria
from edgecap_bench.reports import output
from edgecap_bench.reports.measurement import MeasurementStart, write_measurement
from edgecap_bench.reports.output import JsonFile

UPDATES = 30
"""Updates a second."""
WARM_UP = 3.0
PATIENCE = 60.0
COUNT = """
window.measured = { on: false, updates: [], busy: 0, pictures: [], long: 0 };
const listen = EventSource.prototype.addEventListener, stroke = CanvasRenderingContext2D.prototype.stroke;
EventSource.prototype.addEventListener = function (kind, take) {
  return listen.call(this, kind, kind !== "sound" ? take : (message) => {
    const began = performance.now();
    take(message);
    if (!measured.on) return;
    measured.busy += performance.now() - began;
    measured.updates.push(JSON.parse(message.data).at);
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


def measure(captioner: Captioner, seconds: float) -> PageUpdates:
    """Count for `seconds` what a page does at 30 updates a second."""
    live = LivePage(ListenConfig(web=WebConfig(address="0")), captioner, lambda *_: None)
    try:
        with tempfile.TemporaryDirectory(prefix="edgecap-page-") as folder, chromium(Path(folder)) as browser:
            browser.set_window_size(1100, 1400)
            browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": COUNT})
            browser.get(live.url)
            with _feed(live, captioner.manifest.front_end.n_mels) as sent:
                time.sleep(WARM_UP)
                used = time.process_time()
                evaluate(browser, "measured.on = true; measured.began = performance.now()")
                time.sleep(seconds)
                counted = evaluate(
                    browser, "measured.on = false; measured.lasted = performance.now() - measured.began;return measured"
                )
                used = time.process_time() - used
                dropped = sum(watcher.dropped for watcher in live.broadcast.watchers)
    finally:
        live.close()
    received, lasted = counted["updates"] or [0.0], counted["lasted"] / 1000.0
    gaps = np.diff(counted["pictures"]) / 1000.0
    return PageUpdates(
        page_bytes=sum(len(asset.body) for asset in load_assets().values()),
        seconds=lasted,
        sent=sum(received[0] <= at <= received[-1] for at in sent),
        received=len(counted["updates"]),
        dropped=dropped,
        update_seconds=counted["busy"] / 1000.0 / len(received),
        pictures=len(counted["pictures"]),
        picture_seconds=[float(value) for value in np.percentile(gaps, [50, 95, 99])] if gaps.size else [],
        longest_task_seconds=counted["long"] / 1000.0,
        server_share=used / lasted,
    )


@contextmanager
def _feed(live: LivePage, bands: int) -> Iterator[list[float]]:
    """Sound and an event every two seconds, from a thread; where in the sound each update ended that was sent."""
    sent: list[float] = []
    stop, random = threading.Event(), np.random.default_rng(0)
    (watcher,) = until_watched(live)
    put = watcher.put

    def count(message: bytes, *, keep: bool) -> None:
        if message.startswith(b"event: sound"):
            sent.append(json.loads(message.partition(b"data: ")[2])["at"])
        put(message, keep=keep)

    watcher.put = count  # type: ignore[method-assign]

    def feed() -> None:
        began, events, updates, frames_given = time.monotonic(), 0, 0, 0
        while not stop.is_set():
            elapsed = time.monotonic() - began
            frames = random.normal(-10.0, 15.0, (max(0, round(100 * elapsed) - frames_given), bands))
            frames_given += len(frames)
            live.on_frames("sound", frames.astype(np.float32))
            live.on_status(
                StatusSnapshot(
                    source="sound", asked_hop=2.0, hop=2.0, heard=elapsed, level=-30.0 + 10.0 * np.sin(elapsed)
                )
            )
            updates += 1
            if elapsed > 2 * events:
                events += 1
                event = Event(
                    events, elapsed - 2, elapsed, time.time() - 2, time.time(), "a sound", -0.5, -20.0, 0, True
                )
                live.on_event(Change("begin", event))
            stop.wait(max(0.0, began + updates / UPDATES - time.monotonic()))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def until_watched(live: LivePage) -> frozenset[Watcher]:
    """The page's browser, as soon as it follows. Raises MeasurementError where it does not for `PATIENCE` seconds."""
    give_up = time.monotonic() + PATIENCE
    while not live.broadcast.watchers:
        if time.monotonic() > give_up:
            raise MeasurementError(f"no browser followed the page for {PATIENCE:g} s; try again on an idle machine")
        time.sleep(0.05)
    return live.broadcast.watchers


def page(
    *,
    seconds: Annotated[float, typer.Option("--seconds", min=1, metavar="S", help="Time to count for.")] = 20.0,
    json_: JsonFile = None,
) -> None:
    """Show 30 updates a second in a headless Chromium, and count what it takes and draws."""
    if json_:
        check_writable(json_)
    start = MeasurementStart(f"python -m edgecap_bench.live.page --seconds {seconds:g}")
    measurement = start.end(measure(Captioner.load(threads=1), seconds))
    if json_:
        write_measurement(json_, measurement)
    output.finish(criteria(measurement.body))


if __name__ == "__main__":
    output.run_command(page)
