"""Captions of bundles, for comparison with another processor: runs here and, emulated, there.

    python -m edgecap_bench.arm.captions CLIPS COUNT BUNDLE [BUNDLE ...]

prints one line of JSON, a list of `BundleRun`. Needs nothing but the runtime. CLIPS is a folder, or "-" for made ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgecap.bundle.bundle import read_manifest
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError
from edgecap_bench.harness.clips import Clip, load_clips

ANSWER = "answer: "
"""Stands before the line of JSON: libraries may print other lines."""


@dataclass(frozen=True, kw_only=True)
class ClipCaption:
    """A bundle's caption of one clip."""

    clip: str
    text: str
    tokens: list[int]
    score: float
    """Mean log-probability of the tokens; 0 for silence."""
    seconds: float
    """One caption."""


@dataclass(frozen=True, kw_only=True)
class BundleRun:
    """A bundle's captions of all clips."""

    bundle: str
    runtime: str
    precision: str
    captions: list[ClipCaption]
    fault: str = ""
    """Why it did not run; empty where it did."""

    @property
    def seconds(self) -> float:
        """Of all clips but the first, where there are more: an emulator translates code when it first runs."""
        return sum(caption.seconds for caption in self.captions[1:] or self.captions)


def caption_bundle(model: str, clips: Path | None, count: int) -> BundleRun:
    """Caption the first `count` clips with one bundle on one thread. A failure is its fault."""
    folder = find_model(model)
    runtime, precision, captions = "", "", []
    try:
        manifest = read_manifest(folder)
        runtime, precision = manifest.runtime, manifest.precision
        captioner = Captioner.load(folder, threads=1)
        rate = manifest.front_end.sample_rate
        for clip in load_clips(clips, rate, round(captioner.window * rate))[:count]:
            captions.append(_caption(captioner, clip, rate))
    except EdgecapError as error:
        return BundleRun(bundle=folder.name, runtime=runtime, precision=precision, captions=captions, fault=str(error))
    return BundleRun(bundle=folder.name, runtime=runtime, precision=precision, captions=captions)


def read_answer(text: str) -> list[BundleRun] | None:
    """What this module printed; None where `text` has no answer."""
    lines = [line.removeprefix(ANSWER) for line in text.splitlines() if line.startswith(ANSWER)]
    return msgspec.json.decode(lines[-1], type=list[BundleRun]) if lines else None


def _caption(captioner: Captioner, clip: Clip, rate: int) -> ClipCaption:
    begin = time.perf_counter()
    caption = captioner.caption(clip.samples, rate)
    seconds = time.perf_counter() - begin
    tokens = list(caption.beams[0].tokens) if caption.beams else []
    return ClipCaption(clip=clip.name, text=caption.text, tokens=tokens, score=caption.score or 0.0, seconds=seconds)


def main(arguments: Sequence[str]) -> None:
    """Print the answer for the command line of this module's docstring."""
    clips, count, *models = arguments
    runs = [caption_bundle(model, None if clips == "-" else Path(clips), int(count)) for model in models]
    sys.stdout.write(f"{ANSWER}{msgspec.json.encode(runs).decode()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
