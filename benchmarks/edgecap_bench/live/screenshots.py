"""The pictures of the live page in the README, taken of the real page.

    python -m edgecap_bench.live.screenshots docs

`edgecap listen` gets example sounds at real speed, and a headless Chromium shows its page: by day on a desk, by
night on a phone; then at the demo with a file dropped on it. Takes a minute.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import soundfile
import typer

from edgecap.audio.file import decode
from edgecap.errors import MeasurementError, MissingDependencyError
from edgecap.types import Waveform
from edgecap.util.files import check_writable, write_atomically
from edgecap_bench.live.chromium import chromium, evaluate
from edgecap_bench.reports import output

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

EXAMPLES = Path(__file__).parents[3] / "examples"
SOUNDS = ("rain.ogg", "birds.ogg", "dog.ogg", "train.opus", "applause.ogg")
RATE = 16_000
LONGEST, PAUSE = 7.0, 3.0
"""Seconds played of each sound, and of quiet after it."""
LAST = 40.0
"""Seconds of the last sound: it still plays when both pictures are taken."""
SHOWN_AFTER = 46.0
"""Seconds of sound after which the page is looked at."""
DESK, PHONE = (1000, 1010, 1.0), (390, 780, 1.5)
"""Width and height in CSS pixels, and device pixels for each."""
PATIENCE = 30.0
NAMES = ("live-light.png", "live-dark-phone.png", "demo-light.png")
COLOURS = 128
"""Kept in a picture: enough for the eye, and a README that loads quickly."""


def program() -> Waveform:
    """The sounds one after the other, shape (n,) at `RATE`."""
    random, parts = np.random.default_rng(0), []
    for name in SOUNDS:
        mono = decode(EXAMPLES / name, RATE)
        length = round((LAST if name == SOUNDS[-1] else LONGEST) * RATE)
        parts += [np.tile(mono, -(-length // mono.size))[:length], np.zeros(round(PAUSE * RATE), np.float32)]
    samples = np.concatenate(parts)
    return np.asarray(samples + 1e-4 * random.standard_normal(samples.size), np.float32)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """The address of the page of an `edgecap` command that runs in a folder and ends with the context."""
    command = [sys.executable, "-m", "edgecap", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            assert child.stdout
            lines = iter(child.stdout.readline, "")
            address = next((line[line.index("http") :].strip() for line in lines if "http" in line), None)
            if address is None:
                raise MeasurementError(
                    f"{' '.join(command[2:])} ended before it printed its address; run it to see why"
                )
            yield address
        finally:
            child.terminate()


def shoot(browser: Chrome, file: Path, size: tuple[int, int, float], scheme: str) -> None:
    """Take a picture of the top of the page. Raises OutputError, MissingDependencyError."""
    width, height, scale = size
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": size is PHONE},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependencyError.for_extra("taking pictures of the page", "plot") from error
    time.sleep(1.5)  # the picture is drawn anew
    picture = b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    small = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    write_atomically(file, small.getvalue())


def sound_seconds(browser: Chrome) -> float:
    """Seconds of sound that the page shows as heard, below a minute."""
    text = evaluate(browser, "return document.getElementById('figures').textContent")
    match = re.search(r"listened for([\d.]+) s", text)
    return float(match[1]) if match else 0.0


def wait(look: Callable[[], bool], patience: float) -> None:
    """Until `look` is true, or for `patience` seconds."""
    give_up = time.monotonic() + patience
    while not look() and time.monotonic() < give_up:
        time.sleep(0.1)


def screenshots(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the pictures go.")]) -> None:
    """Take the README's pictures of the live page and of the demo."""
    for name in NAMES:
        check_writable(folder / name)
    with (
        tempfile.TemporaryDirectory(prefix="edgecap-pictures-") as made,
        chromium(Path(made) / "profile", "--hide-scrollbars") as browser,
    ):
        place = Path(made)
        soundfile.write(place / "porch.wav", program(), RATE)
        with served(place, "listen", "--file", "porch.wav", "--web", "0") as url:
            browser.get(url)
            wait(lambda: sound_seconds(browser) >= SHOWN_AFTER, SHOWN_AFTER + PATIENCE)
            shoot(browser, folder / NAMES[0], DESK, "light")
            shoot(browser, folder / NAMES[1], PHONE, "dark")
        with served(place, "demo", "--web", "0") as url:
            browser.get(url)
            browser.find_element("id", "file").send_keys(str(EXAMPLES / "train.opus"))
            wait(lambda: bool(browser.find_elements("css selector", "#captions .beams")), PATIENCE)
            shoot(browser, folder / NAMES[2], (DESK[0], 640, 1.0), "light")


if __name__ == "__main__":
    output.run_command(screenshots)
