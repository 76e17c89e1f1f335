"""Teachers behind one small interface: an embedding of a clip, and captions of it.

There are three: HTSAT-BART, the published one, with weights that the user has (academic use only for WavCaps' own);
the tagger with a captioner that learnt from text alone, which teaches the default model; and the tagger with consensus
captions, the baseline for the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.errors import AudioError, CheckpointError
from edgecap.types import Waveform
from edgecap_train.teachers.bart_tokenizer import BartWords, read_bart_words
from edgecap_train.teachers.consensus import CONSENSUS, ConsensusIndex
from edgecap_train.teachers.htsat_bart import BEAM, HtsatBart
from edgecap_train.teachers.htsat_checkpoint import load_htsat_bart
from edgecap_train.teachers.htsat_frontend import SAMPLE_RATE as HTSAT_RATE
from edgecap_train.teachers.score_captioner import ScoreWriter
from edgecap_train.teachers.tagger import SAMPLE_RATE as TAGGER_RATE
from edgecap_train.teachers.tagger import Tagger, Tags, class_names, load_tagger
from edgecap_train.text.handwritten_captions import labelled_captions

SHORTEST_SECONDS = 1.0
"""The tagger pads what is shorter with zeros."""


class Teacher(Protocol):
    """What a student learns from."""

    name: str
    sample_rate: int
    """Of the samples it takes, in hertz."""
    notes: tuple[str, ...]
    """Conditions of use (licences), in sentences for people."""

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """`samples` (n,) float32 in [-1, 1] → its embedding (width,).

        Raises AudioError for samples that are empty, not mono or not finite.
        """
        ...

    def frames(self, samples: Waveform) -> NDArray[np.float32]:
        """`samples` as for `embedding` → what the embedding is the mean of, (S, width)."""
        ...

    def captions(self, samples: Waveform, *, most: int = 1) -> tuple[str, ...]:
        """At least one and at most `most` captions, the best first. Raises AudioError as `embedding` does."""
        ...


class HtsatBartTeacher:
    """HTSAT-BART: beam-3 captions of the first ten seconds of a clip, 2 to 30 tokens."""

    name = "htsat-bart"
    sample_rate = HTSAT_RATE

    def __init__(self, model: HtsatBart, words: BartWords | None = None, notes: tuple[str, ...] = ()) -> None:
        """`model` in eval mode. Without `words` it embeds and cannot caption."""
        self._model, self._words, self.notes = model, words, notes

    @classmethod
    def load(cls, checkpoint: Path, vocabulary: Path | None = None) -> HtsatBartTeacher:
        """From a checkpoint in the WavCaps layout and BART-base's `vocab.json`, on a GPU where there is one.

        Raises CheckpointError.
        """
        saved = load_htsat_bart(checkpoint)
        size = saved.teacher.config.vocabulary_size
        words = None if vocabulary is None else read_bart_words(vocabulary, size)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(saved.teacher.to(device), words, saved.notes)

    @torch.inference_mode()
    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """Mean of HTSAT's 32 frames, (768,)."""
        return np.asarray(self._model.embedding(self._frames(samples))[0].cpu())

    @torch.inference_mode()
    def captions(self, samples: Waveform, *, most: int = 1) -> tuple[str, ...]:
        """Captions by beam search, at most 3."""
        if self._words is None:
            raise CheckpointError(
                "captions of the teacher HTSAT-BART need BART's words; give the vocab.json of BART-base"
            )
        memory = self._model.memory(self._frames(samples))
        beams = self._model.search(memory, count=min(most, BEAM))
        return tuple(self._words.text(ids) for ids in beams.tolist())

    @torch.inference_mode()
    def frames(self, samples: Waveform) -> NDArray[np.float32]:
        """HTSAT's 32 frames of ten seconds, (32, 768)."""
        return np.asarray(self._frames(samples)[0].cpu())

    def _frames(self, samples: Waveform) -> torch.Tensor:
        return self._model.frames(_clip(samples).to(self._model.projection.weight.device))


class TaggingTeacher:
    """What both teachers on top of the AudioSet tagger share."""

    sample_rate = TAGGER_RATE
    notes: tuple[str, ...] = ()

    def __init__(self, tagger: Tagger) -> None:
        """`tagger` in eval mode."""
        self._tagger = tagger

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """Mean of the tagger's last feature map, (384,)."""
        return np.asarray(self.tags(samples).embedding[0].cpu())

    def frames(self, samples: Waveform) -> NDArray[np.float32]:
        """The tagger's last feature map averaged over frequency, about 0.32 s a frame, (S, 384)."""
        return np.asarray(self.tags(samples).frames[0].cpu())

    @torch.inference_mode()
    def tags(self, samples: Waveform) -> Tags:
        """Scores and frames of the clip, a batch of one. Raises AudioError as `embedding` does."""
        clip = _clip(samples)
        shortest = round(SHORTEST_SECONDS * TAGGER_RATE)
        return self._tagger.forward(torch.nn.functional.pad(clip, (0, max(0, shortest - clip.shape[1]))))


class TaggerTeacher(TaggingTeacher):
    """The AudioSet tagger's scores, put into words by a captioner that learnt from text alone."""

    name = "tagger"

    def __init__(self, tagger: Tagger, writer: ScoreWriter) -> None:
        """`tagger` in eval mode, as the captioner of `writer`."""
        super().__init__(tagger)
        self._writer = writer

    @classmethod
    def load(cls, tagger: Path, captioner: Path) -> TaggerTeacher:
        """From the tagger's folder and the file that `edgecap train teacher tagger` wrote. Raises CheckpointError."""
        return cls(load_tagger(tagger), ScoreWriter.load(captioner, class_names(tagger)))

    def captions(self, samples: Waveform, *, most: int = 1) -> tuple[str, ...]:
        """Captions by beam search, at most 6; claims that its scores do not support come last."""
        return tuple(" ".join(words) for words in self._writer.captions(self.tags(samples).logits[0], most))


class ConsensusTeacher(TaggingTeacher):
    """The tagger's scores pick what people wrote of clips with such labels, the most central first."""

    name = "consensus"

    def __init__(self, tagger: Tagger, index: ConsensusIndex) -> None:
        """`tagger` in eval mode; `index` over labelled captions."""
        super().__init__(tagger)
        self._index = index

    @classmethod
    def load(cls, tagger: Path, captions: Path) -> ConsensusTeacher:
        """From the tagger's folder and a table of labelled captions. Raises CheckpointError, TableError."""
        index = ConsensusIndex(labelled_captions(captions), class_names(tagger), CONSENSUS)
        return cls(load_tagger(tagger), index)

    def captions(self, samples: Waveform, *, most: int = 1) -> tuple[str, ...]:
        """Consensus captions; no beams are searched, the candidates are sentences."""
        scores = torch.sigmoid(self.tags(samples).logits[0]).cpu().numpy()
        picked = self._index.pick(scores, most)
        return tuple(" ".join(self._index.captions[caption].words) for caption in picked)


def _clip(samples: Waveform) -> torch.Tensor:
    """(n,) → (1, n). Raises AudioError."""
    array = np.asarray(samples, np.float32)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise AudioError(
            f"a teacher takes one channel of at least one finite sample, not shape {array.shape}; "
            "mix the channels first"
        )
    return torch.from_numpy(array)[None]
