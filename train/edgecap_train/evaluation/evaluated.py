"""The models that `edgecap evaluate` scores, behind one interface: bundles of any runtime, students and teachers.

Also how recordings are captioned: the first window of each; a recording that cannot be read is left out and named.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecap import Caption, Captioner
from edgecap.audio.file import decode
from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.audio.samples import loudest_level
from edgecap.bundle.bundle import MANIFEST_NAME
from edgecap.bundle.manifest import SilenceSpec
from edgecap.bundle.models import find_model
from edgecap.errors import AudioError, ConfigError
from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_train.evaluation.held_out import Reference

if TYPE_CHECKING:
    from edgecap_train.teachers.teacher import Teacher

log = logging.getLogger(__name__)
WINDOW_SECONDS = 10.0
"""Length of the window that is captioned of a recording."""
CHECKPOINTS = (".safetensors", ".bin", ".pt", ".pth")
RUN_FILE, TEACHER_FILE = "student.safetensors", "teacher.safetensors"
"""The checkpoint in a run folder, of a student or of a teacher."""


class EvaluatedModel(Protocol):
    """A model that captions one window."""

    name: str
    front_end: FrontEnd

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """The best caption of `samples` (n,), mono at the front end's rate, at most ten seconds."""
        ...

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """What its encoder makes of the whole window, (width,)."""
        ...


class EvaluatedBundle:
    """A bundle of any runtime, as a device would run it."""

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        self.name, self.front_end = captioner.manifest.name, captioner.manifest.front_end

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """As `EvaluatedModel.caption`; None is the bundle's own beam."""
        return self.assessed(samples, beam).text

    def assessed(self, samples: Waveform, beam: int | None) -> Caption:
        """The caption with all that the bundle says of it."""
        return self._captioner.caption(samples, self.front_end.sample_rate, beam=beam)

    @property
    def is_calibrated(self) -> bool:
        """Whether its captions have a confidence."""
        return self._captioner.bundle.confidence is not None

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """As `EvaluatedModel.embedding`. Raises BundleError where the front end is part of the graph."""
        shortest = round(self._captioner.shortest * self.front_end.sample_rate)
        padded = np.pad(samples, (0, max(0, shortest - samples.size)))
        return self._captioner.encode(log_mel(padded, self.front_end)).clip_embedding


class EvaluatedCheckpoint:
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
        """As `EvaluatedModel.caption`; None is a beam of 3."""
        import torch

        from edgecap.caption import sentence
        from edgecap_train.models.search import SPECIALS, search_samples

        silence = SilenceSpec.of_front_end(self.front_end)
        if loudest_level(samples, self.front_end.sample_rate) < silence.threshold_dbfs:
            return silence.caption
        best = search_samples(self._student, torch.from_numpy(samples), beam=beam or 3)[0]
        return sentence(best.tokens, self._words, SPECIALS)

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """As `EvaluatedModel.embedding`: the mean of the memory's frames."""
        import torch

        from edgecap_train.models.search import encode_samples

        with torch.inference_mode():
            memory, length = encode_samples(self._student, torch.from_numpy(samples))
            return self._student.clip_embedding(memory, length.clamp(max=memory.shape[1]))[0].numpy()


class EvaluatedTeacher:
    """A teacher of any kind that a run of `edgecap train teacher` made; it has its own beam."""

    def __init__(self, teacher: Teacher, name: str) -> None:
        self._teacher, self.name = teacher, name
        self.front_end = FrontEnd(sample_rate=teacher.sample_rate)

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """As `EvaluatedModel.caption`; `beam` is ignored."""
        return self._teacher.captions(samples)[0]

    def embedding(self, samples: Waveform) -> NDArray[np.float32]:
        """As `EvaluatedModel.embedding`."""
        return self._teacher.embedding(samples)


def open_teacher(checkpoint: Path, *, tagger: Path | None, vocabulary: Path | None) -> EvaluatedTeacher:
    """A teacher's checkpoint: HTSAT-BART with its vocab.json, else a captioner of the tagger's scores.

    Raises CheckpointError and ConfigError, which say what it takes besides.
    """
    from edgecap_train.teachers.bart_tokenizer import VOCABULARY_FILE
    from edgecap_train.teachers.teacher import HtsatBartTeacher, TaggerTeacher

    words = vocabulary or checkpoint.parent / VOCABULARY_FILE
    name = f"{checkpoint.parent.name}/{checkpoint.name}"
    if words.is_file():
        return EvaluatedTeacher(HtsatBartTeacher.load(checkpoint, words), name)
    if tagger is None:
        raise ConfigError(
            f"{checkpoint} is a teacher: a captioner of tag scores needs the tagger's folder (add --tagger FOLDER), "
            f"HTSAT-BART its words ({VOCABULARY_FILE} beside it, or --vocabulary FILE)"
        )
    return EvaluatedTeacher(TaggerTeacher.load(tagger, checkpoint), name)


def open_model(
    model: str, *, threads: int | None = None, vocabulary: Path | None = None, tagger: Path | None = None
) -> EvaluatedModel:
    """A bundle by name or folder, a checkpoint's file, or the folder of a training run or of a published checkpoint.

    `tagger`: folder of the tagger, for a teacher that puts its scores into words. Raises BundleError, CheckpointError,
    ConfigError.
    """
    path = Path(model).expanduser()
    if path.name == TEACHER_FILE and path.is_file():
        return open_teacher(path, tagger=tagger, vocabulary=vocabulary)
    if (path / TEACHER_FILE).is_file():
        return open_teacher(path / TEACHER_FILE, tagger=tagger, vocabulary=vocabulary)
    is_folder_of_checkpoint = (
        path.is_dir()
        and not (path / MANIFEST_NAME).is_file()
        and any(entry.suffix in CHECKPOINTS for entry in path.iterdir())
    )
    if path.suffix in CHECKPOINTS or is_folder_of_checkpoint:
        return EvaluatedCheckpoint(path, vocabulary, threads)
    return EvaluatedBundle(Captioner.load(find_model(model), threads=threads))


@dataclass(frozen=True)
class Captioned:
    """One recording and its caption."""

    reference: Reference
    caption: str


@dataclass(frozen=True)
class Skipped:
    """One recording that could not be read."""

    file: Path
    reason: str


def caption_recordings(
    model: EvaluatedModel, references: Sequence[Reference], beam: int | None, progress: Progress
) -> tuple[list[Captioned], list[Skipped]]:
    """Caption the first ten seconds of every recording; `progress` counts recordings and names them."""
    captioned, skipped = [], []
    for done, reference in enumerate(references):
        progress(done, len(references), reference.file.name)
        try:
            samples = decode(reference.file, model.front_end.sample_rate, WINDOW_SECONDS)
            captioned.append(Captioned(reference, model.caption(samples, beam)))
        except AudioError as error:
            skipped.append(Skipped(reference.file, str(error)))
    progress(len(references), len(references))
    return captioned, skipped


def readable_windows(
    references: Sequence[Reference], rate: int, *, seconds: float = WINDOW_SECONDS, least: int = 1
) -> tuple[list[Reference], list[Waveform], list[Skipped]]:
    """The recordings that can be read, the first `seconds` of each, (n,) at `rate`, and the recordings left out.

    Raises AudioError where fewer than `least` can be read.
    """
    readable, sounds, skipped = [], [], []
    for reference in references:
        try:
            sounds.append(decode(reference.file, rate, seconds))
            readable.append(reference)
        except AudioError as error:
            skipped.append(Skipped(reference.file, str(error)))
    if not readable:
        raise AudioError(
            f"none of the {len(references)} recordings can be read; is the table beside its audio? "
            f"The first: {skipped[0].reason}"
        )
    if len(readable) < least:
        raise AudioError(
            f"{len(readable)} of {len(references)} recordings can be read, and a score needs at least {least}; "
            "name a table with more recordings"
        )
    return readable, sounds, skipped


def first_windows(
    references: Sequence[Reference], rate: int, *, least: int = 1
) -> tuple[list[Reference], list[Waveform]]:
    """As `readable_windows`; the log names the recordings that were left out."""
    readable, sounds, skipped = readable_windows(references, rate, least=least)
    for one in skipped:
        log.warning("left out: %s", one.reason)
    if skipped:
        log.warning("%d of %d recordings cannot be read", len(skipped), len(references))
    return readable, sounds
