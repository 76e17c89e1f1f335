"""Puts the parts of a run of HTSAT-BART together: where its weights and words begin, and how it is judged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from edgecap.util.files import write_atomically
from edgecap_train.distill.trainer import Trainer, accelerator
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import cider_d, read_references
from edgecap_train.teacher_training.htsat_training import (
    RecordingStream,
    TeacherHearing,
    TeacherNetwork,
    TeacherObjective,
    TeacherRecipe,
)
from edgecap_train.teachers.bart_pieces import MERGES_FILE, VOCABULARY_FILE, BartPieces, learn_pieces
from edgecap_train.teachers.bart_words import read_bart_words
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import own_notes, place_partial, save_htsat_bart
from edgecap_train.teachers.htsat_frontend import SAMPLE_RATE
from edgecap_train.teachers.teacher import HtsatBartTeacher

log = logging.getLogger(__name__)
CHECKPOINT = "teacher.safetensors"


def fit_htsat_bart(
    recipe: TeacherRecipe,
    data: Path,
    run: Path,
    *,
    development: Path,
    weights: Sequence[Path] = (),
    words: Path | None = None,
) -> dict[Path, str]:
    """Train into the folder `run`, or go on there; the recordings that could not be read, with the reason.

    `weights`: checkpoints to begin with, atomic_file or partial, the later ones over the earlier. `words`: folder
    with BART's tokenizer; without it pieces are learnt from the captions of `data`.
    """
    references = read_references(data)
    mine = accelerator()
    with mine.main_process_first():
        pieces = _pieces(recipe, [text for r in references for text in r.captions], run, words)
    torch.manual_seed(recipe.seed)
    model = HtsatBart(recipe.shape.config(pieces.size))
    notes = dict.fromkeys(own_notes(run / CHECKPOINT))
    for path in weights:
        placed = place_partial(model, path)
        log.info("%s: %d of %d tensors placed, the others begin at random", path.name, placed.tensors, placed.of)
        notes |= dict.fromkeys(placed.notes)
    for note in notes:
        log.warning("%s", note)
    if recipe.freeze_audio:
        model.audio.requires_grad_(False)
    network = TeacherNetwork(model)
    model.to(mine.device)
    part = (mine.process_index, mine.num_processes)
    stream = RecordingStream(references, pieces, recipe.seed, recipe.optimizer.batch, part=part)
    told = read_bart_words(run / VOCABULARY_FILE, pieces.size)
    judged, clips = first_windows(read_references(development), SAMPLE_RATE)

    def evaluate(candidate: TeacherNetwork) -> dict[str, float]:
        teacher = HtsatBartTeacher(candidate.model.eval(), told)
        captions = [teacher.captions(samples)[0] for samples in clips]
        score = cider_d(captions, [reference.captions for reference in judged])
        return {"cider_d": score.mean, "cider_d_low": score.low, "cider_d_high": score.high}

    def save(best: TeacherNetwork, scores: dict[str, float]) -> None:
        save_htsat_bart(run / CHECKPOINT, best.model, tuple(notes))

    objective = TeacherObjective(network, recipe.label_smoothing, bf16=recipe.optimizer.bf16)
    Trainer(
        recipe.loop(),
        network,
        nn.Module(),
        stream,
        run,
        evaluate,
        save,
        listen=TeacherHearing(model, recipe.gain),
        objective=objective,
    ).run()
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
