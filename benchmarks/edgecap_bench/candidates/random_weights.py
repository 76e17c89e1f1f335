"""Random weights in the files of the published models, for measuring their speed where their own are not at hand.

A model's speed does not depend on the values of its weights: the same products are made. The values here are
drawn by the networks' own initialisations, so nothing overflows or vanishes.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.manifest import Licence, Provenance
from edgecap_bench.candidates.tagger import CLIP_SAMPLES, GRAPH, HOP, TABLES
from edgecap_bench.candidates.teacher_graphs import write_teacher_graphs
from edgecap_export.bundle.bundles import created_by, export_bundle
from edgecap_export.graphs.onnx_export import onnx_model
from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import teacher_slots
from edgecap_train.teachers.tagger import N_MELS, Tagger

PUBLISHED_WORDS = 4_981
"""Vocabulary of the published AudioCaps student."""
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
STUDENT_NAME = "effb2-trm"


def make_teacher(checkpoint: Path, graphs: Path | None, tokens: int) -> None:
    """Write a teacher in the WavCaps layout and, where `graphs` names a folder, its two graphs for `tokens` steps."""
    torch.manual_seed(0)
    teacher = HtsatBart().eval()
    own = teacher.state_dict()
    save_file(
        {
            slot.name: torch.cat([own[part] for part in slot.parts]) if len(slot.parts) > 1 else own[slot.parts[0]]
            for slot in teacher_slots(teacher)
        },
        checkpoint,
    )
    if graphs is not None:
        graphs.mkdir()
        write_teacher_graphs(teacher, graphs, tokens)


def make_student(checkpoint: Path, bundle: Path) -> None:
    """Write the published student's architecture as a checkpoint, and the same weights as edgecap's fp32 bundle."""
    torch.manual_seed(0)
    config = StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=PUBLISHED_WORDS)
    student = Student(config).eval()
    words = (*SPECIALS, *(f"word{number}" for number in range(PUBLISHED_WORDS - len(SPECIALS))))
    save_student(checkpoint, student, words)
    export_bundle(
        student,
        words,
        bundle,
        name=STUDENT_NAME,
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="random weights, to measure speed", created_by=created_by()),
    )


def make_tagger(folder: Path) -> None:
    """Write the AudioSet tagger's graph, from log-mel to scores, and the tables of its front end into a new folder."""
    torch.manual_seed(0)
    tagger = Tagger().eval()
    folder.mkdir()
    np.savez(folder / TABLES, window=tagger.window.numpy(), bank=tagger.bank.numpy())
    frames = (CLIP_SAMPLES - 1) // HOP + 1
    graph = onnx_model(_Scores(tagger), (torch.zeros(1, 1, N_MELS, frames),), ("log_mel",), ("logits",), None)
    (folder / GRAPH).write_bytes(graph.SerializeToString())


class _Scores(nn.Module):
    """The tagger without its front end."""

    def __init__(self, tagger: Tagger) -> None:
        super().__init__()
        self.tagger = tagger

    def forward(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (1, 1, 128, T) → (1, 527)."""
        maps = self.tagger.top(self.tagger.blocks(self.tagger.stem(log_mel)))
        return cast(Tensor, self.tagger.head(maps.mean((2, 3))))
