"""Puts the parts of a run of the text-trained captioner together: what it learns from, and how it is judged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from edgecap_train.evaluation import cider_d, read_references
from edgecap_train.htsat_bart import BEAM
from edgecap_train.judged import first_window
from edgecap_train.prepare import Sources
from edgecap_train.score_captioner import ScoreCaptioner
from edgecap_train.tagger import SAMPLE_RATE, load_tagger
from edgecap_train.text_material import prepare_text
from edgecap_train.text_teacher import TextRecipe, TextTrainer

log = logging.getLogger(__name__)


def fit_text_teacher(
    recipe: TextRecipe, run: Path, *, audio: Path, captions: Path, labels: Path, tagger: Path, development: Path,
    least_count: int, progress: Callable[[int, float], None],
) -> None:  # fmt: skip
    """Train into the folder `run`, or go on there; CIDEr-D on the development set goes to `metrics.jsonl`."""
    references = read_references(development)
    held_out = frozenset(reference.file.stem.split("__", 1)[-1] for reference in references)
    sources = Sources(audio=audio, captions=captions, tagger=tagger, held_out=held_out)
    material = prepare_text(sources, run / "cache", labels=labels, recordings=references, least_count=least_count,
                            seed=recipe.seed, noise=recipe.noise)
    trainer = TextTrainer(recipe, material.examples, material.simulator, material.vocabulary, run)
    hearing = load_tagger(tagger)
    with torch.inference_mode():
        logits = [hearing(torch.from_numpy(first_window(r.file, SAMPLE_RATE))[None]).logits[0] for r in references]

    def evaluate(captioner: ScoreCaptioner) -> None:
        said = [captioner.captions(one, BEAM)[0] for one in logits]
        texts = [" ".join(material.vocabulary[token] for token in tokens) for tokens in said]
        score = cider_d(texts, [reference.captions for reference in references])
        log.info("step %d CIDEr-D %.3f [%.3f, %.3f]", trainer.step, score.mean, score.low, score.high)
        with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": trainer.step, "cider_d": score.mean}) + "\n")

    trainer.run(progress, evaluate)
