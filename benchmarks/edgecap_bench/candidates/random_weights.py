"""Random weights in the files of the published models, for measuring their speed where their own are not at hand.

A model's speed does not depend on the values of its weights: the same products are made. The values here are
drawn by the networks' own initialisations, so nothing overflows or vanishes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.manifest import Licence, Provenance
from edgecap_bench.candidates.teacher_graphs import write_teacher_graphs
from edgecap_export.bundle.bundles import created_by, export_bundle
from edgecap_train.checkpoints.checkpoint import save_student
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import teacher_slots

PUBLISHED_WORDS = 4_981
"""Vocabulary of the published AudioCaps student."""
SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")
STUDENT_NAME = "effb2-trm"


def make_teacher(checkpoint: Path, graphs: Path, tokens: int) -> None:
    """Write a teacher in the WavCaps layout, and its two graphs for `tokens` steps into the new folder `graphs`."""
    torch.manual_seed(0)
    teacher = HtsatBart().eval()
    tensors = teacher.state_dict()
    slots = {slot.name: [tensors[part] for part in slot.parts] for slot in teacher_slots(teacher)}
    save_file({name: torch.cat(parts) if len(parts) > 1 else parts[0] for name, parts in slots.items()}, checkpoint)
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
