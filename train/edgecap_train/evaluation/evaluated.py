"""What `edgecap evaluate` judges: a bundle of any runtime, or a checkpoint in PyTorch, behind one interface.

Also how a table of recordings is walked: the first window of each, and a recording that cannot be read is left out
and named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgecap import Captioner
from edgecap.audio.file import AudioFile
from edgecap.audio.frontend import FrontEnd
from edgecap.audio.resample import resampled
from edgecap.audio.samples import loudest_level, to_mono
from edgecap.bundle.bundle import MANIFEST_NAME
from edgecap.bundle.manifest import SilenceSpec
from edgecap.bundle.models import find_model
from edgecap.errors import AudioError
from edgecap.types import Waveform
from edgecap_train.evaluation.held_out import Reference

log = logging.getLogger(__name__)
WINDOW_SECONDS = 10.0
"""What a model hears of a recording."""
CHECKPOINTS = (".safetensors", ".bin", ".pt", ".pth")
RUN_FILE = "student.safetensors"
"""The checkpoint in a run folder."""


class EvaluatedModel(Protocol):
    """A model that captions one window."""

    name: str
    front_end: FrontEnd

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """The best caption of `samples` (n,), mono at the front end's rate, at most ten seconds."""
        ...


class JudgedBundle:
    """A bundle, whatever runtime it is made for, as a device would run it."""

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        self.name, self.front_end = captioner.manifest.name, captioner.manifest.front_end

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """See `EvaluatedModel`."""
        return self._captioner.caption(samples, self.front_end.sample_rate, beam=beam).text


class JudgedCheckpoint:
    """A checkpoint in PyTorch. A clip is not padded to ten seconds, and silence is gated as in a new bundle."""

    def __init__(self, path: Path, vocabulary: Path | None = None, threads: int | None = None) -> None:
        """`threads` are PyTorch's, of the whole process. Raises CheckpointError."""
        import torch

        from edgecap_train.checkpoints.checkpoint import load_checkpoint

        if threads is not None:
            torch.set_num_threads(threads)
        inside = path / RUN_FILE
        saved = load_checkpoint(inside if inside.is_file() else path, vocabulary)
        self._student, self._words = saved.student, saved.vocabulary
        self.name, self.front_end = saved.path.name, saved.student.config.front_end

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """See `EvaluatedModel`; None is a beam of 3."""
        import torch

        from edgecap.caption import sentence
        from edgecap_train.models.search import SPECIALS, search_samples

        silence = SilenceSpec()
        if loudest_level(samples, self.front_end.sample_rate) < silence.threshold_dbfs:
            return silence.caption
        best = search_samples(self._student, torch.from_numpy(samples), beam=beam or 3)[0]
        return sentence(best.tokens, self._words, SPECIALS)


def open_judged(model: str, *, threads: int | None = None, vocabulary: Path | None = None) -> EvaluatedModel:
    """A bundle by name or folder, a checkpoint's file, or the folder of a training run or of a published checkpoint.

    Raises BundleError or CheckpointError.
    """
    path = Path(model).expanduser()
    known = (
        path.is_dir()
        and not (path / MANIFEST_NAME).is_file()
        and any(entry.suffix in CHECKPOINTS for entry in path.iterdir())
    )
    if path.suffix in CHECKPOINTS or known:
        return JudgedCheckpoint(path, vocabulary, threads)
    return JudgedBundle(Captioner.load(find_model(model), threads=threads))


@dataclass(frozen=True)
class Judgement:
    """One recording that was captioned."""

    reference: Reference
    caption: str


@dataclass(frozen=True)
class Skipped:
    """One recording that could not be."""

    file: Path
    reason: str


def caption_recordings(
    model: EvaluatedModel, references: Sequence[Reference], beam: int | None, progress: Callable[[int, str], None]
) -> tuple[list[Judgement], list[Skipped]]:
    """Caption the first ten seconds of every recording; `progress` is told (done, file). See `Skipped`."""
    judgements, skipped = [], []
    for done, reference in enumerate(references):
        progress(done, reference.file.name)
        try:
            samples = first_window(reference.file, model.front_end.sample_rate)
            judgements.append(Judgement(reference, model.caption(samples, beam)))
        except AudioError as error:
            skipped.append(Skipped(reference.file, str(error)))
    progress(len(references), "")
    return judgements, skipped


def first_windows(references: Sequence[Reference], rate: int) -> tuple[list[Reference], list[Waveform]]:
    """The recordings that can be read and the first ten seconds of each, (n,) at `rate`; the log names the others.

    Raises AudioError where none can be read.
    """
    readable, heard = [], []
    for reference in references:
        try:
            heard.append(first_window(reference.file, rate))
            readable.append(reference)
        except AudioError as error:
            log.warning("left out: %s", error)
    if len(readable) < len(references):
        log.warning("%d of %d recordings cannot be read", len(references) - len(readable), len(references))
    if not readable:
        raise AudioError(f"none of the {len(references)} recordings can be read; is the table where its audio is?")
    return readable, heard


def first_window(file: Path, rate: int, seconds: float = WINDOW_SECONDS) -> Waveform:
    """The first `seconds` of a sound file: mono float32 at `rate`, (n,). Raises AudioError."""
    with AudioFile(file) as sound:
        wanted = round(seconds * sound.sample_rate)
        samples = np.concatenate(list(resampled(_head(sound, wanted), sound.sample_rate, rate)))
    return samples[: round(seconds * rate)]


def _head(sound: AudioFile, wanted: int) -> Iterator[Waveform]:
    """Mono blocks up to `wanted` samples in all."""
    for block in sound.blocks():
        yield to_mono(block[:wanted])
        wanted -= len(block)
        if wanted <= 0:
            return
