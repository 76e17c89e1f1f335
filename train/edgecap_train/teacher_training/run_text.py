"""Puts the parts of a run of the text-trained captioner together: what it learns from, and how it is evaluated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgecap.errors import TrainingDataError
from edgecap.util.files import save_array
from edgecap_train.data.pool import decode_pool
from edgecap_train.data.prepare import Sources
from edgecap_train.data.targets import score_pool
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import Reference, cider_d, clip_id, held_out, read_scored_references
from edgecap_train.evaluation.metrics import LEAST_CLIPS
from edgecap_train.teacher_training.score_noise import ScoreSimulator
from edgecap_train.teacher_training.text_teacher import TextRecipe, TextStream, TextTask, examples
from edgecap_train.teachers.htsat_bart import BEAM
from edgecap_train.teachers.score_captioner import ScoreCaptioner
from edgecap_train.teachers.tagger import SAMPLE_RATE, Tagger, class_names, load_tagger
from edgecap_train.text.captions import read_audiocaps
from edgecap_train.text.handwritten_captions import labelled_captions
from edgecap_train.text.tokenizer import Tokenizer, build_vocabulary
from edgecap_train.training.distributed import accelerator, process_part
from edgecap_train.training.trainer import Trainer

CHECKPOINT = "teacher.safetensors"
FEWEST = 20
"""Scores of present labels that a distribution needs at least."""


def text_stream(  # noqa: PLR0917
    recipe: TextRecipe, sources: Sources, cache: Path, labels: Path, recordings: list[Reference], least_count: int
) -> TextStream:
    """Read captions and score the pool and the labelled recordings with the tagger (scores are cached in `cache`).

    `labels`: CSV like the captions', with the labels of some of the `recordings`. Only the distribution of their
    scores is used: no caption of theirs is learnt. Raises TableError, AudioError, CheckpointError, TrainingDataError.
    """
    captions = labelled_captions(sources.captions, sources.held_out)
    vocabulary = build_vocabulary([caption.words for caption in captions], least_count)
    classes, tagger = class_names(sources.tagger), load_tagger(sources.tagger)
    data = examples(captions, classes, Tokenizer(vocabulary))
    present = present_logits(tagger, classes, recordings, labels)
    scores = cache / "pool_scores.npy"
    if not scores.is_file():
        save_array(scores, score_pool(tagger, decode_pool(sources.audio, cache / "pool")))
    simulator = ScoreSimulator(np.load(scores), present, recipe.noise, recipe.seed)
    return TextStream(data, simulator, vocabulary, recipe, process_part())


@torch.inference_mode()
def present_logits(
    tagger: Tagger, classes: list[str], recordings: list[Reference], labels: Path
) -> NDArray[np.float32]:
    """The tagger's logits of labels that are present: (n,), one for each label of each recording in `labels`.

    A recording is known by its YouTube id, the end of its file's name after two underscores. Raises TrainingDataError
    where there are too few for a distribution.
    """
    known = {caption.clip: caption.labels for caption in read_audiocaps(labels)}
    column = {name: index for index, name in enumerate(classes)}
    logits: list[float] = []
    labelled = [recording for recording in recordings if clip_id(recording.file) in known]
    readable, sounds = first_windows(labelled, SAMPLE_RATE) if labelled else ([], [])
    for recording, samples in zip(readable, sounds, strict=True):
        present = [column[label] for label in known[clip_id(recording.file)] if label in column]
        logits += tagger(torch.from_numpy(samples)[None]).logits[0][present].tolist()
    if len(logits) < FEWEST:
        raise TrainingDataError(
            f"{labels.name} has the labels of recordings with {len(logits)} present labels in all, and "
            f"{FEWEST} are needed to estimate how the tagger scores them; name their table with --labels"
        )
    return np.array(logits, np.float32)


def train_text_teacher(  # noqa: PLR0917
    recipe: TextRecipe, run: Path, sources: Sources, labels: Path, development: Path, least_count: int
) -> None:
    """Train into the folder `run`, or resume there; CIDEr-D on the development set goes to `metrics.jsonl`.

    `labels` as in `text_stream`; the captions of the development set are not learnt. Raises TableError, AudioError,
    CheckpointError, TrainingDataError, and TrainingError for a run that diverges.
    """
    references = read_scored_references(development)
    readable, sounds = first_windows(references, SAMPLE_RATE, least=LEAST_CLIPS)
    with accelerator().main_process_first():
        sources = replace(sources, held_out=held_out(development))
        stream = text_stream(recipe, sources, run / "cache", labels, references, least_count)
    tagger = load_tagger(sources.tagger)
    with torch.inference_mode():
        logits = [tagger(torch.from_numpy(samples)[None]).logits[0] for samples in sounds]

    def evaluate(captioner: ScoreCaptioner) -> dict[str, float]:
        best = [captioner.captions(clip, BEAM)[0] for clip in logits]
        texts = [" ".join(stream.vocabulary[token] for token in tokens) for tokens in best]
        return cider_d(texts, [reference.captions for reference in readable]).document("cider_d")

    Trainer(TextTask(recipe, stream, run / CHECKPOINT, evaluate), recipe, run).run()
