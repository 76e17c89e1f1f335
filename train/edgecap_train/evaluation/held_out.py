"""Tables of recordings with human captions that are held out of training, and a student's captions of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.errors import TableError
from edgecap_train.evaluation.lexical import cider_d as compute_cider_d
from edgecap_train.evaluation.metrics import LEAST_CLIPS, Clips, Metric
from edgecap_train.models.search import search
from edgecap_train.models.student import Student
from edgecap_train.text.captioned_files import CaptionedFile, read_captioned_files

Reference = CaptionedFile
"""A recording with human captions."""


def read_references(path: Path) -> list[Reference]:
    """The recordings of a table in any layout of `edgecap_train.text.captioned_files`; files lie beside the table.

    Raises TableError, also for a recording without captions.
    """
    return read_captioned_files(path)


def read_scored_references(path: Path) -> list[Reference]:
    """The same of a table whose recordings are to be scored. Raises TableError, also for fewer than CIDEr-D needs."""
    references = read_references(path)
    if len(references) < LEAST_CLIPS:
        raise TableError(
            f"{path.name} names {len(references)} recording, and a score needs at least {LEAST_CLIPS}; "
            "name a table with more recordings"
        )
    return references


def by_source(references: Sequence[Reference]) -> dict[str, list[int]]:
    """The places of the recordings of each source, by the table's `dataset` and `split`."""
    places: dict[str, list[int]] = {}
    for place, reference in enumerate(references):
        places.setdefault(" ".join(part for part in (reference.group, reference.split) if part) or "all", []).append(
            place
        )
    return places


def clip_id(file: Path) -> str:
    """The YouTube id in the name of a development recording: all after the first two underscores."""
    return file.stem.split("__", 1)[-1]


def held_out(table: Path) -> frozenset[str]:
    """The YouTube ids of a table of development recordings, whose captions must not be learnt. Raises TableError."""
    return frozenset(reference.clip or clip_id(reference.file) for reference in read_references(table))


def cider_d(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Metric:
    """CIDEr-D of one caption for each of at least two clips. Raises MissingDependencyError without aac-metrics."""
    return compute_cider_d(Clips(captions, references))


@torch.inference_mode()
def caption_all(
    student: Student, log_mels: Sequence[NDArray[np.float32]], vocabulary: Sequence[str], beam: int
) -> list[str]:
    """The best caption for each log-mel spectrogram (n_mels, T), on the student's device."""
    device = student.decoder.embedding.weight.device
    captions = []
    for spectrogram in log_mels:
        memory = student.encode(torch.from_numpy(spectrogram)[None].to(device))
        length = student.memory_length(torch.tensor([spectrogram.shape[1]], device=device)).clamp(max=memory.shape[1])
        best = search(student, memory, length, beam=beam)[0]
        captions.append(" ".join(vocabulary[token] for token in best.tokens if token > 3))
    return captions
