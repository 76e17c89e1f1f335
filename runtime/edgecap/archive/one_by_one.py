"""Captions of many sounds, one window after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.inference.session import Encoded
from edgecap.types import Waveform

Key = TypeVar("Key")


@dataclass(frozen=True)
class CaptionedSound(Generic[Key]):
    """All captions of one sound."""

    key: Key
    captions: tuple[Caption, ...]
    embeddings: tuple[NDArray[np.float32] | None, ...]
    """Of each caption, shape (dim,); None where it is silent."""
    fault: AudioError | None


class _Remembering(Captioner):
    """A captioner that keeps the embedding of the window that it captioned last."""

    embedding: NDArray[np.float32] | None = None

    def encode_samples(self, samples: Waveform) -> Encoded:
        encoded = super().encode_samples(samples)
        self.embedding = encoded.clip_embedding
        return encoded


class OneByOne:
    """Captions sounds as `Captioner.caption_file` does."""

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = _Remembering(captioner.bundle, captioner._session, captioner.matcher)

    def caption_sounds(
        self, sounds: Iterable[tuple[Key, AudioFile]], *, window: float, hop: float, beam: int
    ) -> Iterator[CaptionedSound[Key]]:
        """The captions of sounds, in order; each is closed."""
        for key, sound in sounds:
            captions, embeddings, fault = list[Caption](), list[NDArray[np.float32] | None](), None
            try:
                for caption in self._captioner.caption_file(sound, window=window, hop=hop, beam=beam):
                    captions.append(caption)
                    embeddings.append(None if caption.silent else self._captioner.embedding)
            except AudioError as error:
                fault = error
            yield CaptionedSound(key, tuple(captions), tuple(embeddings), fault)
