"""Puts the parts of a run of the text-trained captioner together: what it learns from, and how it is judged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from edgecap_train.data.prepare import Sources
from edgecap_train.distill.trainer import accelerator
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import cider_d, held_out, read_references
from edgecap_train.teacher_training.text_material import prepare_text
from edgecap_train.teacher_training.text_teacher import TextRecipe, TextTrainer
from edgecap_train.teachers.htsat_bart import BEAM
from edgecap_train.teachers.score_captioner import ScoreCaptioner
from edgecap_train.teachers.tagger import SAMPLE_RATE, load_tagger

log = logging.getLogger(__name__)


def fit_text_teacher(
    recipe: TextRecipe,
    run: Path,
    *,
    audio: Path,
    captions: Path,
    labels: Path,
    tagger: Path,
    development: Path,
    least_count: int,
    progress: Callable[[int, float], None],
) -> None:
    """Train into the folder `run`, or go on there; CIDEr-D on the development set goes to `metrics.jsonl`."""
    references = read_references(development)
    sources = Sources(audio=audio, captions=captions, tagger=tagger, held_out=held_out(development))
    with accelerator().main_process_first():
        material = prepare_text(
            sources,
            run / "cache",
            labels=labels,
            recordings=references,
            least_count=least_count,
            seed=recipe.seed,
            noise=recipe.noise,
        )
    trainer = TextTrainer(recipe, material.examples, material.simulator, material.vocabulary, run)
    hearing, (judged, clips) = load_tagger(tagger), first_windows(references, SAMPLE_RATE)
    with torch.inference_mode():
        logits = [hearing(torch.from_numpy(samples)[None]).logits[0] for samples in clips]

    def evaluate(captioner: ScoreCaptioner) -> dict[str, float]:
        said = [captioner.captions(one, BEAM)[0] for one in logits]
        texts = [" ".join(material.vocabulary[token] for token in tokens) for tokens in said]
        score = cider_d(texts, [reference.captions for reference in judged])
        log.info("step %d CIDEr-D %.3f [%.3f, %.3f]", trainer.step, score.mean, score.low, score.high)
        return {"cider_d": score.mean, "cider_d_low": score.low, "cider_d_high": score.high}

    trainer.run(progress, evaluate)
