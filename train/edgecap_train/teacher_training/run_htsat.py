"""Puts the parts of a run of HTSAT-BART together: where its weights and words come from, and how it is evaluated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from edgecap.util.files import write_atomically
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import cider_d, read_references, read_scored_references
from edgecap_train.evaluation.metrics import LEAST_CLIPS
from edgecap_train.teacher_training.htsat_training import RecordingStream, TeacherRecipe, TeacherTask
from edgecap_train.teachers.bart_tokenizer import (
    MERGES_FILE,
    VOCABULARY_FILE,
    BartPieces,
    learn_pieces,
    read_bart_words,
)
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import own_notes, place_partial, save_htsat_bart
from edgecap_train.teachers.htsat_frontend import SAMPLE_RATE
from edgecap_train.teachers.teacher import HtsatBartTeacher
from edgecap_train.training.distributed import accelerator, process_part
from edgecap_train.training.trainer import Trainer

log = logging.getLogger(__name__)
CHECKPOINT = "teacher.safetensors"


def train_htsat_bart(
    recipe: TeacherRecipe,
    data: Path,
    run: Path,
    *,
    development: Path,
    weights: Sequence[Path] = (),
    words: Path | None = None,
) -> dict[Path, str]:
    """Train into the folder `run`, or resume there; the recordings that could not be read, with the reason.

    `weights`: checkpoints to start from, whole or partial, the later ones over the earlier. `words`: folder
    with BART's tokenizer; without it pieces are learnt from the captions of `data`.
    """
    held_out, sounds = first_windows(read_scored_references(development), SAMPLE_RATE, least=LEAST_CLIPS)
    references = read_references(data)
    with accelerator().main_process_first():
        pieces = _pieces(recipe, [text for r in references for text in r.captions], run, words)
    torch.manual_seed(recipe.seed)
    model = HtsatBart(recipe.shape.config(pieces.size))
    notes = dict.fromkeys(own_notes(run / CHECKPOINT))
    for path in weights:
        placed = place_partial(model, path)
        log.info("%s: %d of %d tensors placed, the others start at random", path.name, placed.tensors, placed.of)
        notes |= dict.fromkeys(placed.notes)
    for note in notes:
        log.warning("%s", note)
    if recipe.freeze_audio:
        model.audio.requires_grad_(False)
    model.to(accelerator().device)
    stream = RecordingStream(references, pieces, recipe.seed, recipe.optimizer.batch, part=process_part())
    bart_words = read_bart_words(run / VOCABULARY_FILE, pieces.size)

    def evaluate(candidate: HtsatBart) -> dict[str, float]:
        teacher = HtsatBartTeacher(candidate, bart_words)
        captions = [teacher.captions(samples)[0] for samples in sounds]
        return cider_d(captions, [reference.captions for reference in held_out]).document("cider_d")

    def save(best: HtsatBart, scores: dict[str, float]) -> None:
        save_htsat_bart(run / CHECKPOINT, best, tuple(notes))

    Trainer(TeacherTask(recipe, model, stream, evaluate, save), recipe, run).run()
    return stream.unreadable


def _pieces(recipe: TeacherRecipe, captions: list[str], run: Path, words: Path | None) -> BartPieces:
    """The run's tokenizer, in its folder: the one that is there, BART's, or one learnt now."""
    if (run / VOCABULARY_FILE).is_file() and (run / MERGES_FILE).is_file():
        return BartPieces(run)
    if words is None:
        return learn_pieces(captions, run, recipe.pieces)
    BartPieces(words)
    for name in (MERGES_FILE, VOCABULARY_FILE):
        write_atomically(run / name, (words / name).read_bytes())
    return BartPieces(run)
