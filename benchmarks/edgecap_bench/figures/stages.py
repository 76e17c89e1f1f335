"""Times of the stages of one caption, taken inside one process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.inference.session import Encoded, open_session
from edgecap.util.progress import Progress, no_progress
from edgecap_bench.harness.child import Channel
from edgecap_bench.harness.clips import window_clips
from edgecap_bench.harness.timing import interleave


@dataclass(frozen=True)
class StageTimes:
    """Seconds of each stage in each round; a round is one clip."""

    front_end: list[float]
    encoder: list[float]
    decoder: list[float]
    """Beam search and all its decoder steps."""
    decoder_step: list[float]
    """The same divided by the steps of that clip."""
    caption: list[float]
    """All of it, as `Captioner.caption` does it: checks, level, front end, encoder, search, text."""
    clips: list[str]
    steps: list[int]
    """Decoder steps that each clip takes."""


def stages(channel: Channel, spec: str) -> dict[str, object]:
    """`measure_stages` in a child; `spec` is JSON of its arguments."""
    options = json.loads(spec)
    options["clips"] = options["clips"] and Path(options["clips"])
    return asdict(measure_stages(**options, progress=channel.progress))


def measure_stages(
    model: str | None,
    clips: Path | None,
    *,
    rounds: int,
    threads: int,
    beam: int | None,
    progress: Progress = no_progress,
) -> StageTimes:
    """Time the stages on clips of the model's window, one clip a round, the stages taking turns.

    Raises BundleError, AudioError.
    """
    bundle = load_bundle(find_model(model))
    session = open_session(bundle, threads)
    captioner, manifest = Captioner(bundle, session), bundle.manifest
    size = beam or manifest.decoder.default_beam
    rate = manifest.front_end.sample_rate
    sounds = window_clips(clips, manifest)
    # A clip of the whole window has exactly as many frames as the encoder takes.
    outside = manifest.encoder.input == "log_mel"
    frames = [log_mel(sound.samples, manifest.front_end) if outside else sound.samples for sound in sounds]
    length = manifest.encoder.memory_length(manifest.encoder.window_frames)
    encoded = [session.encode(frame, length) for frame in frames]

    def search(number: int) -> int:
        """Search one clip's caption; the number of decoder steps, which is the tokens of its longest beam."""
        return max(len(best.tokens) for best in session.search(encoded[number], size))

    def at(run: Callable[[int], object]) -> Callable[[int], object]:
        return lambda turn: run(turn % len(sounds))

    def encode(number: int) -> Encoded:
        return session.encode(frames[number], length)

    steps = [search(number) for number in range(len(sounds))]
    seconds = interleave(
        {
            "front_end": at(lambda number: log_mel(sounds[number].samples, manifest.front_end)),
            "encoder": at(encode),
            "decoder": at(search),
            "caption": at(lambda number: captioner.caption(sounds[number].samples, rate, beam=size)),
        },
        rounds,
        progress=progress,
    )
    step = [total / steps[turn % len(sounds)] for turn, total in enumerate(seconds["decoder"])]
    return StageTimes(**seconds, decoder_step=step, clips=[sound.name for sound in sounds], steps=steps)
