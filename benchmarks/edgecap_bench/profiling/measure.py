"""Measures the parts of a caption: the stages on real sounds, divided by the profile of each graph."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.errors import ConfigError
from edgecap.inference.decoding import DecodeStep, beam_search
from edgecap.inference.graph_session import search_feed
from edgecap.inference.onnx_session import open_graph
from edgecap.inference.session import Encoded, open_session
from edgecap.util.progress import Progress
from edgecap_bench.candidates.bundle_runner import forced_search
from edgecap_bench.counting.macs import search_multiply_adds
from edgecap_bench.figures.results import Settings, Subject
from edgecap_bench.figures.stages import StageTimes, measure_stages
from edgecap_bench.harness.child import Channel
from edgecap_bench.harness.clips import window_clips
from edgecap_bench.harness.process import Cores, labelled, run_measurement
from edgecap_bench.profiling.layers import LayerTime, layer_times, work_by_kind
from edgecap_bench.profiling.peak import peak_rates
from edgecap_bench.profiling.results import Part, Profile, Stage

CALLS = "calls into the runtime"
SEARCH = "Python of the search"
SEARCHES = 12
"""Searches with a clock around each run of the decoder's graph."""


@dataclass(frozen=True, kw_only=True)
class ProfilePlan:
    """What to measure."""

    model: str | None
    clips: Path | None
    rounds: int
    cores: Cores
    beam: int | None


def measure_profile(plan: ProfilePlan, progress: Progress) -> Profile:
    """Measure in a child process. Raises EdgecapError, ConfigError for a model that does not run in ONNX Runtime."""
    bundle = load_bundle(find_model(plan.model))
    check_profiled(bundle)
    spec = {
        "model": plan.model,
        "clips": plan.clips and str(plan.clips),
        "rounds": plan.rounds,
        "threads": plan.cores.threads,
        "beam": plan.beam,
    }
    target = "edgecap_bench.profiling.measure:profile"
    answer = run_measurement(target, spec, cores=plan.cores, progress=labelled(progress, "profile"))
    stages = answer["stages"]
    settings = Settings(
        rounds=plan.rounds,
        starts=0,
        threads=plan.cores.threads,
        beam=plan.beam or bundle.manifest.decoder.default_beam,
        clips=stages["clips"],
        steps=stages["steps"],
    )
    return Profile(
        subject=Subject.of(bundle),
        settings=settings,
        caption=stages["caption"],
        stages={name: stages[name] for name in ("front_end", "encoder", "decoder")},
        parts=[Part(**part) for part in answer["parts"]],
        peak=answer["peak"],
    )


def check_profiled(bundle: Bundle) -> None:
    """Raise ConfigError for a model of a runtime that reports no times of its layers."""
    if bundle.manifest.runtime != "onnx":
        raise ConfigError(
            f"{bundle.manifest.name} runs in {bundle.manifest.runtime}, which reports no times of its layers; use "
            "--profile with the model's bundle for ONNX Runtime, or leave it out"
        )


def profile(channel: Channel, spec: str) -> dict[str, Any]:
    """In the child: stages, parts and peak; `spec` is JSON of the arguments of `measure_stages`."""
    options = json.loads(spec)
    options["clips"] = options["clips"] and Path(options["clips"])
    threads = options["threads"]
    peak = peak_rates(threads)
    stages = measure_stages(**options, progress=channel.progress)
    bundle = load_bundle(find_model(options["model"]))
    manifest = bundle.manifest
    graph = bundle.path("encode")
    encode = layer_times(graph, {}, threads, work_by_kind(graph, {}), name=graph.name)
    searches = _searches(bundle, options["clips"], options["beam"], threads)
    decode, runs = _decoder_layers(bundle, searches, options["beam"] or manifest.decoder.default_beam, threads)
    # a search's share of Python, from searches with a clock in them; the stage itself is timed without
    outside = max(0.0, 1.0 - searches.inside / searches.seconds)
    decoder = median(stages.decoder)
    parts = [
        *_front_end(stages, manifest),
        *_divided("encoder", median(stages.encoder), encode, 1.0),
        *_divided("decoder", (1.0 - outside) * decoder, decode, runs),
        Part(stage="decoder", name=SEARCH, seconds=outside * decoder),
    ]
    rest = median(stages.caption) - sum(part.seconds for part in parts)
    parts.append(Part(stage="Python between", name="", seconds=max(0.0, rest)))
    return {"stages": asdict(stages), "parts": [asdict(part) for part in parts], "peak": peak}


def _front_end(stages: StageTimes, manifest: Manifest) -> list[Part]:
    """The front end, which is part of the encoder's graph where that takes samples."""
    if manifest.encoder.input != "log_mel":
        return []
    seconds, frames = median(stages.front_end), manifest.encoder.window_frames
    return [
        Part(
            stage="front end", name="", seconds=seconds, multiply_adds=frames * frame_multiply_adds(manifest.front_end)
        )
    ]


def frame_multiply_adds(front_end: FrontEnd) -> int:
    """The least that one frame of log-mel takes: a fast transform of real samples, powers and the mel bank.

    The transform is counted as 2.5 N log2 N operations, half of them multiply-adds: the convention for real data of
    FFTW's benchmarks (https://www.fftw.org/speed/method.html). A mel filter bank has two weights a bin.
    """
    bins = front_end.n_fft // 2 + 1
    return round(1.25 * front_end.n_fft * math.log2(front_end.n_fft)) + front_end.n_fft + 2 * bins + 2 * bins


def _divided(stage: Stage, seconds: float, layers: Sequence[LayerTime], runs: float) -> list[Part]:
    """A stage by kinds of layers; what its graph does not explain are the calls. `runs` of the graph make a caption.

    Profiling slows small nodes, so where the kinds are more than the stage, they are its shares.
    """
    inside = runs * sum(layer.seconds for layer in layers)
    scale = min(1.0, seconds / inside) if inside else 0.0
    parts = [
        Part(
            stage=stage,
            name=layer.kind,
            seconds=scale * runs * layer.seconds,
            runs=round(runs * layer.nodes),
            multiply_adds=round(runs * layer.multiply_adds),
            arithmetic="int8" if layer.int8 else "float32",
        )
        for layer in layers
    ]
    return [*parts, Part(stage=stage, name=CALLS, seconds=max(0.0, seconds - inside))]


@dataclass(frozen=True)
class _Searches:
    """Means of several searches."""

    steps: float
    """Tokens of the longest caption of each."""
    seconds: float
    inside: float
    """Seconds of them inside the graph and the runtime's calls."""


def _searches(bundle: Bundle, clips: Path | None, beam: int | None, threads: int) -> _Searches:
    """Search the captions of the clips in turns, with a clock around each run of the decoder's graph."""
    session, manifest = open_session(bundle, threads), bundle.manifest
    size = beam or manifest.decoder.default_beam
    encoded = [_encoded(session, sound.samples, manifest) for sound in window_clips(clips, manifest)]
    graph = open_graph(bundle.path("decode"), threads) if manifest.decoder.search == "in-graph" else None
    steps, seconds, inside = 0, 0.0, 0.0
    for turn in range(-len(encoded), SEARCHES):  # the first ones warm up
        window = encoded[turn % len(encoded)]
        begin = time.perf_counter()
        if graph is not None:
            count = max(len(caption.tokens) for caption in session.search(window, size))
            end = time.perf_counter()
            graph.run(None, search_feed([window], size))
            within = time.perf_counter() - end
        else:
            timed = _Timed(session.decoder(window, size))
            beam_search(
                timed,
                beam=size,
                max_tokens=manifest.decoder.max_tokens,
                start=manifest.vocabulary.start,
                end=manifest.vocabulary.end,
            )
            end, count, within = time.perf_counter(), timed.count, timed.seconds
        if turn >= 0:
            steps, seconds, inside = steps + count, seconds + end - begin, inside + within
    return _Searches(steps / SEARCHES, seconds / SEARCHES, inside / SEARCHES)


def _decoder_layers(bundle: Bundle, searches: _Searches, beam: int, threads: int) -> tuple[list[LayerTime], float]:
    """The kinds of layers of the decoder's graph, and how many of its runs make a caption."""
    path, decoder = bundle.path("decode"), bundle.manifest.decoder
    if decoder.search == "in-graph":  # one run of a graph that always goes on to so many tokens
        tokens = max(1, round(searches.steps))
        work = {"matrix products": search_multiply_adds(path, beam, tokens)}
        return layer_times(forced_search(path, tokens), {"beams": beam}, threads, work, name=path.name), 1.0
    sizes = {"beams": decoder.beams or beam}
    return layer_times(path, sizes, threads, work_by_kind(path, sizes), name=path.name), searches.steps


def _encoded(session: Any, samples: NDArray[np.float32], manifest: Manifest) -> Encoded:  # noqa: ANN401
    sound = log_mel(samples, manifest.front_end) if manifest.encoder.input == "log_mel" else samples
    encoded: Encoded = session.encode(sound, manifest.encoder.memory_length(manifest.encoder.window_frames))
    return encoded


class _Timed:
    """A decoder that counts and times its steps."""

    def __init__(self, decode: DecodeStep) -> None:
        self._decode = decode
        self.count, self.seconds = 0, 0.0

    def __call__(self, tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
        begin = time.perf_counter()
        log_probs = self._decode(tokens, position, parents)
        self.seconds += time.perf_counter() - begin
        self.count += 1
        return log_probs
