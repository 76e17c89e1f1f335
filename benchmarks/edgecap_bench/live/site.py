"""How heavy, fast and right is the page that needs no server?

    python -m edgecap_bench.live.site examples
    python -m edgecap_bench.live.site RECORDINGS --model FP32_BUNDLE
    python -m edgecap_bench.live.site examples --hardware

Writes the page of a bundle, opens it in a headless Chromium and captions every sound there and in Python, in turns, on
one thread. Times of captions are processor time, of all the browser's processes, which a busy machine disturbs less;
that of the first caption is the time that a visitor waits. Exit code 0 where everything wanted is reached, 1 where
something is not. With `--hardware` it shows instead what more threads and the page's memory are, and whether there is
WebGPU.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import numpy as np
import typer

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, MeasurementError
from edgecap.inference.session import usable_cores
from edgecap.live.threads import MOST_THREADS
from edgecap.types import Waveform
from edgecap_bench.live.chromium import chromium
from edgecap_bench.reports import output
from edgecap_bench.reports.tables import Criterion
from edgecap_export.web.graphs import page_bundle
from edgecap_export.web.onnxruntime_web import onnxruntime_web
from edgecap_export.web.site import write_site

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MOST_BYTES, MOST_FIRST_SECONDS, MOST_RATIO, MOST_DIFFERENT = 12e6, 1.5, 6.0, {"fp32": 0.0}
USUAL_DIFFERENT = 0.1
"""Share of captions that may differ from Python's in other precisions."""
PATIENCE = 600.0
LOAD = """
const [threads, done] = arguments;
const [{ Model }, { decodeFile }] = await Promise.all(["model.js", "decode.js"].map((name) => import(`./${name}`)));
window.measured = { model: await new Model().load(threads), decodeFile };
done(measured.model.threads);
"""
DECODE = """
const [address, done] = arguments, { model, decodeFile } = measured;
const began = performance.now();
measured.samples = await decodeFile(await (await fetch(address)).blob(), model.manifest.front_end.sample_rate);
done((performance.now() - began) / 1000);
"""
CAPTION = """
const [done] = arguments, { model, samples } = measured, began = performance.now(), texts = [];
for (const [start, end] of await model.windows(samples.length)) {
  texts.push((await model.caption(samples.slice(start, end))).text);
}
done({ texts, seconds: (performance.now() - began) / 1000 });
"""
WEBGPU = """
const [done] = arguments, adapter = await navigator.gpu?.requestAdapter();
done(adapter ? [adapter.info.vendor, adapter.info.architecture, adapter.info.description].join(" ").trim()
  : navigator.gpu ? "no adapter" : "absent");
"""
WARM_UP = 6
"""Captions until a browser has compiled everything well."""
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""The headers without which a browser gives no threads to WebAssembly."""


class _Files(SimpleHTTPRequestHandler):
    """Serves files without a word, with or without the headers of cross-origin isolation."""

    def __init__(self, *arguments: Any, isolated: bool, **more: Any) -> None:  # noqa: ANN401 - those of the base class
        self.isolated = isolated
        super().__init__(*arguments, **more)

    def end_headers(self) -> None:
        """Send the headers of every answer."""
        for name, value in ISOLATION.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


def _sounds(folder: Path, rate: int) -> Iterator[tuple[Path, Waveform]]:
    """Every sound of a folder, as the model gets it. Raises MeasurementError where there is none."""
    none = True
    for path in sorted(folder.iterdir()):
        try:
            with AudioFile(path) as file:
                samples = np.concatenate(list(resampled(file.mono(), file.sample_rate, rate)))
        except AudioError:
            continue
        none = False
        yield path, samples
    if none:
        raise MeasurementError(f"there is no sound in {folder} that could be captioned; name a folder with sounds")


@contextmanager
def _served(folder: Path, *, isolated: bool = False) -> Iterator[str]:
    """The address of a server of a folder's files."""
    handler = partial(_Files, directory=str(folder), isolated=isolated)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextmanager
def _prepared(bundle: Bundle, sounds: Path) -> Iterator[tuple[Path, int]]:
    """A folder with the page of a bundle, `site`, and the sounds, `sounds`; and the bytes of the page."""
    with tempfile.TemporaryDirectory(prefix="edgecap-site-") as temporary:
        folder = Path(temporary)
        with page_bundle(bundle) as page:
            written = write_site(page, onnxruntime_web(), folder / "site")
        (folder / "sounds").symlink_to(sounds.resolve())
        yield folder, written.size


@contextmanager
def _opened(folder: Path, *, isolated: bool = False) -> Iterator[tuple[Chrome, str]]:
    """A browser at the page of a prepared folder, and the address of the folder."""
    profile = folder / ("isolated" if isolated else "plain")
    with _served(folder, isolated=isolated) as address, chromium(profile) as browser:
        browser.set_script_timeout(PATIENCE)
        browser.get(f"{address}/site/sw.js")  # a document of the site whose own scripts do not run
        yield browser, address


def _used(root: int) -> dict[int, int]:
    """Processor time, in hundredths, of a process and all its descendants, ended children included."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(path.parent.name)], used[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    family, new = {root}, {root}
    while new := {child for child, parent in parents.items() if parent in new}:
        family |= new
    return {each: used[each] for each in family if each in used}


def _processor_seconds(root: int) -> float:
    """Processor time of a process and all its descendants."""
    return sum(_used(root).values()) / 100.0


def _megabytes(root: int) -> float:
    """Memory of the largest process below a process in which a page runs; what is shared counts in parts (PSS)."""
    largest = 0
    for pid in _used(root):
        try:
            if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                largest = max(largest, *(int(line.split()[1]) for line in lines if line.startswith("Pss:")))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return largest * 1024 / 1e6


def _run(browser: Chrome, script: str, *arguments: str | int) -> Any:  # noqa: ANN401 - any value of JavaScript
    """What a script passes to `done`. Raises MeasurementError where it fails."""
    wrapped = f"const giveUp = arguments[arguments.length - 1]; (async function () {{ {script} }})(...arguments)"
    result = browser.execute_async_script(
        f"{wrapped}.catch((error) => giveUp({{ failed: String(error) }}));", *arguments
    )
    if isinstance(result, dict) and "failed" in result:
        raise MeasurementError(f"the page failed ({result['failed']}); open it in a browser to see more")
    return result


class _Measured:
    """A page with its model, and what its captions took."""

    def __init__(self, browser: Chrome, address: str, threads: int) -> None:
        self.browser, self.address, self.root = browser, address, browser.service.process.pid
        self.empty = _megabytes(self.root)
        self.threads = _run(browser, LOAD, threads)
        self.seconds: list[float] = []
        self.processor: list[float] = []

    def caption(self, name: str) -> None:
        """Caption one sound of the folder, before the first one as often as a browser needs to be warm."""
        _run(self.browser, DECODE, f"{self.address}/sounds/{name}")
        for _ in range(0 if self.seconds else WARM_UP):
            _run(self.browser, CAPTION)
        began = _processor_seconds(self.root)
        result = _run(self.browser, CAPTION)
        count = len(result["texts"])
        self.processor.append((_processor_seconds(self.root) - began) / count)
        self.seconds.append(result["seconds"] / count)

    def rows(self) -> list[Criterion]:
        """What was measured."""
        name = f"{self.threads} thread{'s' * (self.threads > 1)}"
        waited, used = 1000 * median(self.seconds), 1000 * median(self.processor)
        memory = f"{_megabytes(self.root):.0f} MB, {self.empty:.0f} MB before the model was loaded"
        return [
            Criterion(f"a caption, {name}", f"{waited:.0f} ms, {used:.0f} ms of processor time", "", kept=True),
            Criterion(f"memory, {name}", memory, "", kept=True),
        ]


def measure(model: str | None, sounds: Path) -> list[Criterion]:
    """Caption every sound of a folder in the browser and in Python."""
    bundle = load_bundle(find_model(model))
    captioner, precision = Captioner.load(bundle.folder, threads=1), bundle.manifest.precision
    rate = bundle.manifest.front_end.sample_rate
    native = browsers = first = 0.0
    windows = different = 0
    with _prepared(bundle, sounds) as (folder, size), _opened(folder) as (browser, address):
        _run(browser, LOAD, 1)
        root = browser.service.process.pid
        for path, samples in _sounds(sounds, rate):
            decoding = _run(browser, DECODE, f"{address}/sounds/{quote(path.name)}")
            if not windows:
                first = decoding + _run(browser, CAPTION)["seconds"]
                for _ in range(WARM_UP):
                    _run(browser, CAPTION)
            began = time.process_time()
            expected = [one.text for one in captioner.caption_windows(samples, rate)]
            native += time.process_time() - began
            began = _processor_seconds(root)
            result = _run(browser, CAPTION)
            browsers += _processor_seconds(root) - began
            windows += len(expected)
            different += sum(one != other for one, other in zip(result["texts"], expected, strict=True))
    share, ratio = MOST_DIFFERENT.get(precision, USUAL_DIFFERENT), browsers / native
    return [
        Criterion("download", f"{size / 1e6:.1f} MB", f"at most {MOST_BYTES / 1e6:g} MB", size <= MOST_BYTES),
        Criterion("first caption", f"{first:.2f} s", f"at most {MOST_FIRST_SECONDS:g} s", first <= MOST_FIRST_SECONDS),
        Criterion(
            "a caption, processor time",
            f"{1000 * browsers / windows:.0f} ms, {ratio:.1f} of Python's {1000 * native / windows:.0f} ms",
            f"at most {MOST_RATIO:g}",
            ratio <= MOST_RATIO,
        ),
        Criterion(
            f"captions other than Python's in {precision}",
            f"{different} of {windows}",
            f"at most {100 * share:g} %",
            different <= share * windows,
        ),
    ]


def hardware(model: str | None, sounds: Path) -> list[Criterion]:
    """Caption every sound of a folder on one thread, and on several of a page that is isolated, in turns."""
    bundle, rows, most = load_bundle(find_model(model)), [], min(MOST_THREADS, usable_cores())
    with _prepared(bundle, sounds) as (folder, _), ExitStack() as opened:
        pages = [
            _Measured(*opened.enter_context(_opened(folder, isolated=threads > 1)), threads) for threads in (1, most)
        ]
        for path, _ in _sounds(sounds, bundle.manifest.front_end.sample_rate):
            for page in pages:
                page.caption(quote(path.name))
        for page in pages:
            rows += page.rows()
        with chromium(folder / "graphics", graphics=True) as browser:
            browser.get(f"{pages[0].address}/site/sw.js")
            rows.append(Criterion("WebGPU", _run(browser, WEBGPU), "", kept=True))
    return rows


def site(
    sounds: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder of sounds.")],
    *,
    model: Annotated[str | None, typer.Option("--model", metavar="BUNDLE", help="Its name or folder.")] = None,
    of_hardware: Annotated[
        bool, typer.Option("--hardware", help="Show threads, memory and WebGPU instead; nothing is wanted of them.")
    ] = False,
) -> None:
    """Caption sounds on the page without a server, and in Python."""
    output.finish((hardware if of_hardware else measure)(model, sounds))


if __name__ == "__main__":
    output.run_command(site)
