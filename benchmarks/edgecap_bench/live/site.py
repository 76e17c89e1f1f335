"""How heavy, fast and right is the page that needs no server?

    python -m edgecap_bench.live.site examples
    python -m edgecap_bench.live.site RECORDINGS --model FP32_BUNDLE

Writes the page of a bundle, opens it in a headless Chromium and captions every sound there and in Python, in turns, on
one thread. Times of captions are processor time, of all the browser's processes, which a busy machine disturbs less;
that of the first caption is the time that a visitor waits. Exit code 0 where everything wanted is reached, 1 where
something is not.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import numpy as np
import typer

from edgecap.audio.file import AudioFile
from edgecap.audio.resample import resampled
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, MeasurementError
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
const done = arguments[0];
const [{ Model }, { decodeFile }] = await Promise.all(["model.js", "decode.js"].map((name) => import(`./${name}`)));
window.measured = { model: await new Model().load(), decodeFile };
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
WARM_UP = 6
"""Captions until a browser has compiled everything well."""


class _Files(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


def _samples(path: Path, rate: int) -> Iterator[Waveform]:
    """A file as the model gets it, in blocks. Raises AudioError."""
    with AudioFile(path) as file:
        yield from resampled(file.mono(), file.sample_rate, rate)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _processor_seconds(root: int) -> float:
    """Processor time of a process and all its descendants, ended children included."""
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
    return sum(used.get(each, 0) for each in family) / 100.0


def _run(browser: Chrome, script: str, *arguments: str) -> Any:  # noqa: ANN401 - any value of JavaScript
    """What a script passes to `done`. Raises MeasurementError where it fails."""
    wrapped = f"const giveUp = arguments[arguments.length - 1]; (async function () {{ {script} }})(...arguments)"
    result = browser.execute_async_script(
        f"{wrapped}.catch((error) => giveUp({{ failed: String(error) }}));", *arguments
    )
    if isinstance(result, dict) and "failed" in result:
        raise MeasurementError(f"the page failed ({result['failed']}); open it in a browser to see more")
    return result


def measure(model: str | None, sounds: Path) -> list[Criterion]:
    """Caption every sound of a folder in the browser and in Python."""
    bundle = load_bundle(find_model(model))
    captioner, precision = Captioner.load(bundle.folder, threads=1), bundle.manifest.precision
    native = browsers = first = 0.0
    windows = different = 0
    with tempfile.TemporaryDirectory(prefix="edgecap-site-") as temporary:
        folder = Path(temporary)
        with page_bundle(bundle) as page:
            site = write_site(page, onnxruntime_web(), folder / "site")
        (folder / "sounds").symlink_to(sounds.resolve())
        with _served(folder) as address, chromium(folder / "profile") as browser:
            browser.set_script_timeout(PATIENCE)
            browser.get(f"{address}/site/sw.js")  # a document of the site whose own scripts do not run
            _run(browser, LOAD)
            root = browser.service.process.pid
            for path in sorted(sounds.iterdir()):
                try:
                    samples = np.concatenate(list(_samples(path, captioner.manifest.front_end.sample_rate)))
                except AudioError:
                    continue
                decoding = _run(browser, DECODE, f"{address}/sounds/{quote(path.name)}")
                if not windows:
                    first = decoding + _run(browser, CAPTION)["seconds"]
                    for _ in range(WARM_UP):
                        _run(browser, CAPTION)
                began = time.process_time()
                expected = [
                    one.text for one in captioner.caption_windows(samples, captioner.manifest.front_end.sample_rate)
                ]
                native += time.process_time() - began
                began = _processor_seconds(root)
                result = _run(browser, CAPTION)
                browsers += _processor_seconds(root) - began
                windows += len(expected)
                different += sum(one != other for one, other in zip(result["texts"], expected, strict=True))
    if not windows:
        raise MeasurementError(f"there is no sound in {sounds} that could be captioned; name a folder with sounds")
    share, ratio = MOST_DIFFERENT.get(precision, USUAL_DIFFERENT), browsers / native
    return [
        Criterion("download", f"{site.size / 1e6:.1f} MB", f"at most {MOST_BYTES / 1e6:g} MB", site.size <= MOST_BYTES),
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


def site(
    sounds: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder of sounds.")],
    *,
    model: Annotated[str | None, typer.Option("--model", metavar="BUNDLE", help="Its name or folder.")] = None,
) -> None:
    """Caption sounds on the page without a server, and in Python."""
    output.finish(measure(model, sounds))


if __name__ == "__main__":
    output.run_command(site)
