"""From a sound to a sentence: the API.

The stages: mono float32 → the model's sample rate → windows → silence check → log-mel → encoder → beam search → text.
Nothing here knows which runtime does the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from edgecap.audio.file import AudioFile
from edgecap.audio.frontend import log_mel, normalised
from edgecap.audio.readable import Readable
from edgecap.audio.resample import check_rate, resampled
from edgecap.audio.samples import as_float, check_values, loudest_level, to_mono
from edgecap.audio.windows import Window, WindowPlan
from edgecap.bundle.bundle import Bundle, load_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.bundle.models import find_model
from edgecap.caption import Assessment, Beam, Caption, SoundMatch, sentence, with_name
from edgecap.confidence import Confidence
from edgecap.errors import AudioError, BundleError
from edgecap.inference.decoding import Hypothesis
from edgecap.inference.session import Encoded, InferenceSession, open_session
from edgecap.inference.streaming import StreamEncoder, WindowEncoder
from edgecap.sounds.bank import frame_embeddings
from edgecap.sounds.matcher import Matcher
from edgecap.types import LogMel, Waveform
from edgecap.util.limits import LARGEST_BEAM

SHORTEST_TAIL_SECONDS = 1.0
"""The end of a long sound is captioned if it holds at least this much that no window had."""
SHORTEST_WINDOW_SECONDS = 0.5


class Captioner:
    """A loaded model. It holds no state between calls, so threads may share it."""

    def __init__(self, bundle: Bundle, session: InferenceSession, matcher: Matcher | None = None) -> None:
        """`matcher` knows the sounds that the user taught."""
        self.bundle = bundle
        """The bundle that it was loaded from."""
        self.matcher = matcher
        self._session = session
        encoder, front_end = self.manifest.encoder, self.manifest.front_end
        self._rate = front_end.sample_rate
        self._longest = encoder.window_frames * front_end.hop_length - 1
        spec = bundle.confidence
        self._confidence = None
        if spec is not None:
            dimension, words = encoder.embedding_dim, self.manifest.vocabulary.size
            self._confidence = Confidence(spec, embedding_dim=dimension, vocabulary_size=words)
        self._shortest = max((encoder.frames_per_memory - 1) * front_end.hop_length, front_end.n_fft // 2 + 1)

    @classmethod
    def load(cls, model: str | Path | None = None, *, threads: int | None = None, streams: bool = False) -> Self:
        """Load a model: the default one for None, one by the name that `edgecap models` lists, or a bundle's folder.

        `threads` is the number of processor threads, 1 by default; `streams` is for those who mostly use
        `stream_encoder`: less is held in memory. Raises BundleError, MissingDependencyError without the runtime.
        """
        bundle = load_bundle(find_model(model), all_hashes=False)
        return cls(bundle, open_session(bundle, threads, streams=streams))

    def with_sounds(self, matcher: Matcher | None) -> Captioner:
        """The same model, which recognises taught sounds as well."""
        return Captioner(self.bundle, self._session, matcher)

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def window(self) -> float:
        """Longest sound that the model takes at once, in seconds."""
        return (self.manifest.encoder.window_frames - 1) * self.manifest.front_end.hop_length / self._rate

    @property
    def shortest(self) -> float:
        """Shortest sound that is captioned as it is, in seconds; a shorter one is padded with zeros."""
        return self._shortest / self._rate

    def caption(self, samples: ArrayLike, sample_rate: float, *, beam: int | None = None) -> Caption:
        """Caption one sound that fits into the model's window.

        `samples` (n,) or (n, channels) of float in [-1, 1], int16, int32 or uint8 at `sample_rate` hertz.
        A short sound is fine: one below `shortest` is padded with zeros. `beam` of 1 is greedy search,
        None the model's own (3). Raises AudioError for samples that cannot be used and for more than the
        window holds (`caption_windows` takes any length).
        """
        check_rate(sample_rate)
        array = as_float(samples)
        # Compared in the model's samples: up to one hop more than the window gives no further frame.
        if len(array) * self._rate / sample_rate > self._longest:
            raise AudioError(
                f"the sound has {len(array) / sample_rate:.2f} s and the model takes {self.window:.2f} s "
                "at once; use caption_windows or caption_file, which go through it window by window"
            )
        check_values(array, sample_rate)
        blocks = [block for block in resampled([to_mono(array)], sample_rate, self._rate) if block.size]
        mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return self._caption(Window(0, mono), len(array) / sample_rate, self.beam_size(beam))

    def caption_windows(
        self,
        samples: ArrayLike,
        sample_rate: float,
        *,
        window: float | None = None,
        hop: float | None = None,
        beam: int | None = None,
    ) -> Iterator[Caption]:
        """Caption samples of any length window by window, as `caption_file` does with a file."""
        plan, beam = self.plan(window, hop), self.beam_size(beam)
        check_rate(sample_rate)
        array = as_float(samples)
        check_values(array, sample_rate)
        return self._walk([to_mono(array)], sample_rate, len(array) / sample_rate, plan, beam)

    def caption_file(
        self,
        sound: str | Path | AudioFile,
        *,
        window: float | None = None,
        hop: float | None = None,
        beam: int | None = None,
    ) -> Iterator[Caption]:
        """Caption a sound file of any length window by window, holding one window in memory.

        `sound` is a file that `AudioFile` reads, "-" for standard input, or an `AudioFile` (closed at the end).
        `window` is the seconds captioned at once, at most and by default the model's (10 s); `hop` the seconds
        from one window to the next, by default `window`. The rest at the end is captioned if it holds at least 1 s that
        no window had, or if there is no window. Raises ValueError at once for a window, hop or beam out of range,
        AudioError for a damaged file after the captions of everything that could be read.
        """
        plan, beam_size = self.plan(window, hop), self.beam_size(beam)

        def captions() -> Iterator[Caption]:
            with sound if isinstance(sound, AudioFile) else AudioFile(sound) as file:
                readable = Readable(file)
                yield from self._walk(readable, file.sample_rate, file.duration, plan, beam_size)
                if readable.fault is not None:
                    raise readable.fault

        return captions()

    def encode(self, frames: LogMel) -> Encoded:
        """Run the encoder on a log-mel spectrogram, shape (n_mels, n), n at most `manifest.encoder.window_frames`.

        For callers that compute the spectrogram themselves, as a live stream does; `decode` takes the result.
        Raises BundleError where the front end is part of the model's graph.
        """
        manifest = self.manifest
        if manifest.encoder.input != "log_mel":
            raise BundleError(
                f"the front end of {self.bundle.folder} is part of its graph, which takes samples, not log-mel "
                "frames; for a live stream export the model without --front-end in-graph"
            )
        length = manifest.encoder.memory_length(frames.shape[1])
        # The floor of the decibels is the clip's own, so the padding comes after the logarithm.
        missing = manifest.encoder.window_frames - frames.shape[1]
        if missing:
            padded = np.full((len(frames), manifest.encoder.window_frames), manifest.front_end.silence, np.float32)
            padded[:, : frames.shape[1]] = frames
            frames = padded
        return self._session.encode(frames, length)

    def stream_encoder(self) -> WindowEncoder:
        """What encodes the windows of one stream: a `StreamEncoder`, or whole windows where the bundle has none.

        Raises BundleError for a graph that does not load, OperatorError where the runtime lacks something for it.
        """
        graph, spec = self._session.stream_graph(), self.manifest.encoder.streaming
        return self.encode_window if graph is None or spec is None else StreamEncoder(self.manifest, spec, graph)

    def encode_window(self, frames: LogMel, _first: int, /, *, sliding: bool) -> Encoded:
        """The slower way: a whole window, as `WindowEncoder` says."""
        return self.encode(np.ascontiguousarray(normalised(frames, self.manifest.front_end).T))

    def encode_samples(self, samples: Waveform) -> Encoded:
        """Encode one window of mono samples (n,) at the model's rate; a short one is padded."""
        samples = self.padded(samples)
        encoder, front_end = self.manifest.encoder, self.manifest.front_end
        if encoder.input == "log_mel":
            return self.encode(log_mel(samples, front_end))
        return self._session.encode(samples, encoder.memory_length(front_end.frames(samples.size)))

    def padded(self, samples: Waveform) -> Waveform:
        """Samples (n,) at the model's rate with zeros behind them, where they are fewer than the model takes."""
        missing = self._shortest - samples.size
        return np.pad(samples, (0, missing)) if missing > 0 else samples

    def decode(self, encoded: Encoded, beam: int | None = None) -> tuple[Beam, ...]:
        """The hypotheses for an encoded window, best first. `beam` as in `caption`."""
        size = self.beam_size(beam)
        return self._beams(self._session.search(encoded, size)[:size])

    def decode_several(self, encoded: Sequence[Encoded], beam: int | None = None) -> list[tuple[Beam, ...]]:
        """`decode` for several windows, whose searches share their steps where the model's graph can do that."""
        size = self.beam_size(beam)
        return [self._beams(best[:size]) for best in self._session.search_several(encoded, size)]

    def _beams(self, hypotheses: Sequence[Hypothesis]) -> tuple[Beam, ...]:
        vocabulary, spec = self.bundle.vocabulary, self.manifest.vocabulary
        return tuple(Beam(sentence(one.tokens, vocabulary, spec), one.score, one.tokens) for one in hypotheses)

    def sounds(self, encoded: Encoded) -> tuple[SoundMatch, ...]:
        """The taught sounds in an encoded window, surest first; none without a matcher."""
        if self.matcher is None or not self.matcher.sounds:
            return ()
        return self.matcher.match(frame_embeddings(encoded))

    def sounds_in_file(self, sound: str | Path | AudioFile, *, hop: float | None = None) -> Iterator[SoundMatch]:
        """The taught sounds in a file, window by window and without captions; times from the file's beginning.

        `hop` is by default half a window, so that a sound is reported by each of two windows. Raises as `caption_file`.
        """
        plan = self.plan(None, self.window / 2 if hop is None else hop)
        with sound if isinstance(sound, AudioFile) else AudioFile(sound) as file:
            for window in plan.cut(resampled(file.mono(), file.sample_rate, self._rate)):
                if loudest_level(window.samples, self._rate) >= self.manifest.silence.threshold_dbfs:
                    start = window.start / self._rate
                    for match in self.sounds(self.encode_samples(window.samples)):
                        yield replace(match, start=match.start + start, end=match.end + start)

    def assess(self, encoded: Encoded, beams: Sequence[Beam]) -> Assessment | None:
        """How probable the best of `beams` is; None where the bundle has nothing fitted."""
        return None if self._confidence is None else self._confidence(encoded.clip_embedding, beams)

    def windows(self, duration: float, *, window: float | None = None, hop: float | None = None) -> int:
        """How many captions a sound of `duration` seconds gets. Raises ValueError as `check_windows` does."""
        return self.plan(window, hop).count(round(duration * self._rate))

    def check_windows(self, *, window: float | None = None, hop: float | None = None) -> None:
        """Raise ValueError for a window that is too short or longer than the model's, or a hop of no sample."""
        self.plan(window, hop)

    def _walk(
        self, blocks: Iterable[Waveform], rate: float, duration: float | None, plan: WindowPlan, beam: int
    ) -> Iterator[Caption]:
        for window in plan.cut(resampled(blocks, rate, self._rate)):
            yield self._caption(window, duration, beam)

    def _caption(self, window: Window, duration: float | None, beam: int) -> Caption:
        """Caption one window; `duration` as in `measured`."""
        measured = self.measured(window, duration)
        if measured.silent:
            return measured
        encoded = self.encode_samples(window.samples)
        return self.described(measured, encoded, self.decode(encoded, beam))

    def measured(self, window: Window, duration: float | None) -> Caption:
        """What is known of a window without the model: where it is, and its level; the caption is that of silence.

        `duration` is the length of the sound in seconds, before resampling rounds it; None where it is not known.
        """
        samples = window.samples
        end = (window.start + samples.size) / self._rate
        if duration is not None and abs(end - duration) * self._rate < 1.0:
            end = duration
        level, spec = loudest_level(samples, self._rate), self.manifest.silence
        start, silent = window.start / self._rate, level < spec.threshold_dbfs
        return Caption(spec.caption, None, start, end, level, silent, ())

    def described(self, measured: Caption, encoded: Encoded, beams: tuple[Beam, ...]) -> Caption:
        """A measured window with what the model says of it."""
        sounds, assessment = self.sounds(encoded), self.assess(encoded, beams)
        text = with_name(beams[0].text, sounds)
        return replace(measured, text=text, score=beams[0].score, beams=beams, sounds=sounds, assessment=assessment)

    def beam_size(self, beam: int | None) -> int:
        """The beams of a search, the model's own number for None. Raises ValueError for a number out of range."""
        if beam is None:
            return self.manifest.decoder.default_beam
        if not 1 <= beam <= LARGEST_BEAM:
            raise ValueError(f"the beam size must be between 1 and {LARGEST_BEAM}, not {beam}")
        return beam

    def plan(self, window: float | None, hop: float | None) -> WindowPlan:
        """How to cut a long sound into windows. Raises ValueError."""
        window = self.window if window is None else window
        hop = window if hop is None else hop
        if not SHORTEST_WINDOW_SECONDS <= window <= self.window:
            raise ValueError(
                f"the window must be between {SHORTEST_WINDOW_SECONDS:g} s and the model's "
                f"{self.window:g} s, not {window:g} s"
            )
        if not (math.isfinite(hop) and hop * self._rate >= 1.0):
            raise ValueError(f"the hop must be at least one sample long, not {hop:g} s")
        length, step, tail = (round(seconds * self._rate) for seconds in (window, hop, SHORTEST_TAIL_SECONDS))
        return WindowPlan(length=length, hop=step, shortest_tail=tail)
