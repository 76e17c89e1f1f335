"""Captions of many sounds, the same as one by one and sooner.

A thread opens, decodes and resamples the next sounds, cuts them into windows and computes their log-mel, while this
one runs the model. The encoder runs window by window: it is bound by arithmetic, and windows in one call took as long
(docs/batching.md). The searches of several windows share their steps where the model's graph can do that.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile, may_wait
from edgecap.audio.readable import Readable
from edgecap.audio.resample import resampled
from edgecap.audio.windows import WindowPlan
from edgecap.batching.ahead import ahead
from edgecap.batching.shared_frames import SharedFrames
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.types import LogMel, Waveform

Key = TypeVar("Key")
Sound = str | Path | AudioFile
DEFAULT_BATCH = 4
"""Windows that are handed over, and share a search; docs/batching.md has the times of 1 to 16."""
MOST_BATCH = 64
DEPTH = 2
"""Batches that wait, decoded, for the model."""
SILENT_SHARE = 8
"""Windows of a batch, silent ones among them, for each that the model is run for."""


@dataclass(frozen=True)
class CaptionedWindow(Generic[Key]):
    """One window of a sound."""

    key: Key
    caption: Caption
    embedding: NDArray[np.float32] | None
    """The clip embedding, shape (dim,); None where the window is silent."""
    duration: float | None
    """Seconds that the sound says it has."""


@dataclass(frozen=True)
class SoundEnd(Generic[Key]):
    """Behind the last window of a sound."""

    key: Key
    fault: AudioError | None
    """Why it could not be read, or not to its end."""


@dataclass(frozen=True)
class CaptionedSound(Generic[Key]):
    """All captions of one sound."""

    key: Key
    captions: tuple[Caption, ...]
    embeddings: tuple[NDArray[np.float32] | None, ...]
    """Of each caption, as in `CaptionedWindow`."""
    fault: AudioError | None
    """Why it could not be read to its end; the captions are those of what could."""


@dataclass(frozen=True)
class _Prepared(Generic[Key]):
    """A window before the model."""

    key: Key
    measured: Caption
    sound: LogMel | Waveform | None
    """What the encoder takes; None for a silent window."""
    duration: float | None


class BatchCaptioner:
    """Captions many sounds with one captioner. It holds no state between calls, so threads may share it."""

    def __init__(self, captioner: Captioner, batch: int | None = None) -> None:
        """`batch` is the windows that share a search, None for the default: as many as was fastest in float, and 1 in
        int8, where activations are quantised over a batch, so that a caption would depend on its neighbours.

        A model whose search is not in its graph, and one of another runtime, searches window by window. Raises
        ValueError outside 1 to 64.
        """
        if batch is not None and not 1 <= batch <= MOST_BATCH:
            raise ValueError(f"the batch must be between 1 and {MOST_BATCH}, not {batch}")
        self._captioner, self._batch = captioner, batch or DEFAULT_BATCH
        self._together = batch is not None or captioner.manifest.precision != "int8"

    def caption_sounds(
        self,
        sounds: Iterable[tuple[Key, Sound]],
        *,
        window: float | None = None,
        hop: float | None = None,
        beam: int | None = None,
    ) -> Iterator[CaptionedSound[Key]]:
        """The captions of each sound, in the order given. Arguments and errors as `caption_windows`."""
        steps = self.caption_windows(sounds, window=window, hop=hop, beam=beam)

        def captioned() -> Iterator[CaptionedSound[Key]]:
            captions, embeddings = list[Caption](), list[NDArray[np.float32] | None]()
            with closing(steps):
                for step in steps:
                    if isinstance(step, CaptionedWindow):
                        captions.append(step.caption)
                        embeddings.append(step.embedding)
                    else:
                        yield CaptionedSound(step.key, tuple(captions), tuple(embeddings), step.fault)
                        captions.clear()
                        embeddings.clear()

        return captioned()

    def caption_windows(
        self,
        sounds: Iterable[tuple[Key, Sound]],
        *,
        window: float | None = None,
        hop: float | None = None,
        beam: int | None = None,
    ) -> Generator[CaptionedWindow[Key] | SoundEnd[Key], None, None]:
        """The windows of each sound as they are done, in the order given, and its end behind them.

        `sounds` are read in another thread, a few ahead; each sound, open or not, is closed behind its end, and one
        that cannot be read stops nothing: its end has the fault. `window`, `hop` and `beam` as in
        `Captioner.caption_file`. Memory does not depend on the number of sounds or their length. Raises ValueError at
        once for a window, hop or beam out of range; later BundleError, and what `sounds` raises, at its place.
        """
        plan, size = self._captioner.plan(window, hop), self._captioner.beam_size(beam)
        batches = _batches(_prepared(self._captioner, sounds, plan), self._batch)
        return self._described(batches, size)

    def _described(
        self, batches: Generator[list[_Prepared[Key] | SoundEnd[Key]], None, None], beam: int
    ) -> Generator[CaptionedWindow[Key] | SoundEnd[Key], None, None]:
        captioner, is_log_mel = self._captioner, self._captioner.manifest.encoder.input == "log_mel"
        encode = captioner.encode if is_log_mel else captioner.encode_samples
        for batch in ahead(batches, DEPTH):
            sounds = [item.sound for item in batch if isinstance(item, _Prepared) and item.sound is not None]
            encoded = [encode(sound) for sound in sounds]
            beams = (
                captioner.decode_several(encoded, beam)
                if self._together
                else [captioner.decode(each, beam) for each in encoded]
            )
            described = iter(zip(encoded, beams, strict=True))
            for item in batch:
                if isinstance(item, SoundEnd):
                    yield item
                elif item.sound is None:
                    yield CaptionedWindow(item.key, item.measured, None, item.duration)
                else:
                    memory, best = next(described)
                    caption = captioner.described(item.measured, memory, best)
                    yield CaptionedWindow(item.key, caption, memory.clip_embedding, item.duration)


def _prepared(
    captioner: Captioner, sounds: Iterable[tuple[Key, Sound]], plan: WindowPlan
) -> Iterator[_Prepared[Key] | SoundEnd[Key] | None]:
    """All that is done without the model; None before a sound that may be waited for. Raises what `sounds` raises."""
    front_end, is_log_mel = captioner.manifest.front_end, captioner.manifest.encoder.input == "log_mel"
    for key, sound in sounds:
        if may_wait(sound):
            yield None
        try:
            with sound if isinstance(sound, AudioFile) else AudioFile(sound) as file:
                readable, duration = Readable(file), file.duration
                log_mel = SharedFrames(front_end, plan.hop)
                for window in plan.cut(resampled(readable, file.sample_rate, front_end.sample_rate)):
                    measured = captioner.measured(window, duration)
                    if measured.silent:
                        yield _Prepared(key, measured, None, duration)
                    else:
                        samples = captioner.padded(window.samples)
                        encodable = log_mel(window.start, samples) if is_log_mel else samples
                        yield _Prepared(key, measured, encodable, duration)
                fault = readable.fault
        except AudioError as error:
            fault = error
        yield SoundEnd(key, fault)


def _batches(
    items: Iterator[_Prepared[Key] | SoundEnd[Key] | None], size: int
) -> Generator[list[_Prepared[Key] | SoundEnd[Key]], None, None]:
    """The items in lists with `size` windows for the model, or with many silent ones; None ends a list too."""
    batch, model = list[_Prepared[Key] | SoundEnd[Key]](), 0
    try:
        for item in items:
            if item is not None:
                batch.append(item)
                model += isinstance(item, _Prepared) and item.sound is not None
            if batch and (item is None or model == size or len(batch) >= SILENT_SHARE * size):
                yield batch
                batch, model = [], 0
    except Exception:
        if batch:
            yield batch  # what was read before the error is captioned before it is raised
        raise
    if batch:
        yield batch
