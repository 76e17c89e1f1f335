"""From shards and a recipe to a trained student: puts the parts of a run together.

`edgecap_train.training.trainer` has the loop; `edgecap_train.distill.start` where weights start.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.errors import RecipeError, TrainingDataError
from edgecap_train.data.batches import Batch, BesideStream, ShardStream, Stream, caption_ids
from edgecap_train.data.packed import is_packed
from edgecap_train.data.shards import Shard
from edgecap_train.data.training_data import TrainingData
from edgecap_train.distill.cached_features import SOUND, CachedFeatures, cached_batch, with_encoder, write_features
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import TrainingRecipe
from edgecap_train.distill.reward import CaptionReward
from edgecap_train.distill.start import Start, initialise
from edgecap_train.distill.task import Prepare, StudentTask, augmenting, best_student
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import Reference, caption_all, cider_d, read_scored_references
from edgecap_train.evaluation.metrics import LEAST_CLIPS
from edgecap_train.models.encoder import encoder_class
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.distributed import accelerator, process_part
from edgecap_train.training.trainer import Trainer

log = logging.getLogger(__name__)


def build_student(recipe: TrainingRecipe, vocabulary: tuple[str, ...]) -> Student:
    """A student of the recipe's shape with fresh weights."""
    model = recipe.model
    return Student(
        StudentConfig(
            encoder=model.encoder,
            front_end=replace(encoder_class(model.encoder).front_end, clip_level=model.clip_level),
            vocabulary_size=len(vocabulary),
            d_model=model.d_model,
            heads=model.heads,
            layers=model.layers,
            feed_forward=model.feed_forward,
            dropout=model.dropout,
        )
    )


class DevelopmentSet:
    """Scores a student on recordings with human captions; the spectrograms are computed once."""

    def __init__(self, table: Path, front_end: FrontEnd, vocabulary: tuple[str, ...]) -> None:
        """Raises TableError and AudioError, also where fewer recordings can be read than a score needs."""
        references = read_scored_references(table)
        self.references, sounds = first_windows(references, front_end.sample_rate, least=LEAST_CLIPS)
        self.log_mels = [log_mel(samples, front_end) for samples in sounds]
        self.vocabulary = vocabulary

    def captions(self, student: Student, beam: int) -> list[str]:
        """The student's caption of every recording."""
        return caption_all(student, self.log_mels, self.vocabulary, beam)

    def scores(self, captions: list[str]) -> dict[str, float]:
        """CIDEr-D over all clips, and over AudioCaps' clips with five captions ("cider_d", the one that decides)."""
        five = [index for index, r in enumerate(self.references) if _decides(r)]
        if len(five) < LEAST_CLIPS:
            five = list(range(len(captions)))
        decisive = cider_d([captions[i] for i in five], [self.references[i].captions for i in five])
        every = cider_d(captions, [r.captions for r in self.references])
        more = {"clips": len(five), "cider_d_all": every.mean, "distinct": len(set(captions)) / len(captions)}
        return decisive.document("cider_d") | more


def train_student(
    recipe: TrainingRecipe,
    data: str | Path,
    run: Path,
    *,
    development: Path,
    start: Start,
    tagger: Path | None = None,
    audio_only: str | Path | None = None,
) -> None:
    """Train a student by a recipe on prepared `data` into the folder `run`; resumes where an earlier call stopped.

    `data`: a folder, or the address of packed shards; `audio_only`: the same of clips that have the teacher's captions
    alone, for `optimizer.audio_only`.
    Raises RecipeError, TrainingDataError, CheckpointError, and TrainingError for a run that diverges.
    """
    _check(recipe, data, audio_only, start, tagger)
    torch.manual_seed(recipe.seed)
    labelled = TrainingData(data)
    others = TrainingData(audio_only) if audio_only is not None else None
    vocabulary = labelled.vocabulary
    student = build_student(recipe, vocabulary)
    first = _first_shard(recipe, labelled, others)
    development_set = DevelopmentSet(development, student.config.front_end, vocabulary)
    heads = teaching_heads(student, recipe.loss, first.frames.shape[2])
    initialise(student, heads, recipe, start, first, tagger=tagger, vocabulary=vocabulary)
    tokenizer, encoder = Tokenizer(vocabulary), student.encoder
    write_best = best_student(run / "student.safetensors", vocabulary, recipe.name)
    frozen = recipe.model.freeze_encoder

    def evaluate(candidate: Student) -> dict[str, float]:
        with with_encoder(candidate, encoder if frozen else candidate.encoder):
            captions = development_set.captions(candidate, beam=1)
        for reference, caption in list(zip(development_set.references, captions, strict=True))[::12]:
            log.info("%s | %s", reference.captions[0], caption)
        return development_set.scores(captions)

    def save(best: Student, scores: dict[str, float]) -> None:
        with with_encoder(best, encoder if frozen else best.encoder):
            write_best(best, scores)

    part, most = process_part(), student.config.max_tokens
    stream: Stream[Batch]
    if frozen:
        features = write_features(student, recipe, labelled.folder, run / "features", tokenizer, part)
        accelerator().wait_for_everyone()
        student.encoder = CachedFeatures(student.dim)
        stream = ShardStream(features, tokenizer, most, recipe.seed, recipe.optimizer.batch, part=part, sound=SOUND)
        prepare: Prepare = cached_batch
    else:
        stream = labelled.stream(tokenizer, most, recipe.seed, recipe.optimizer.batch, part=part)
        if others is not None:
            beside, seed = recipe.optimizer.audio_only, recipe.seed + 1
            stream = BesideStream(stream, others.stream(tokenizer, most, seed, beside, part=part, audio_only=True))
        retag = None
        if tagger is not None and recipe.augment.crop and recipe.loss.tags:
            retag = load_tagger(tagger).head.requires_grad_(False)
        prepare = augmenting(student, recipe, tokenizer, retag)
    reward = _reward(recipe, labelled, tokenizer, most, tagger) if recipe.loss.reward else None
    task = StudentTask(recipe, student, heads, stream, evaluate, save, prepare=prepare, reward=reward)
    Trainer(task, recipe, run).run()


def _reward(
    recipe: TrainingRecipe, data: TrainingData, tokenizer: Tokenizer, most: int, tagger: Path | None
) -> CaptionReward:
    """What drawn captions are worth; words are as rare as among the references of the first shard."""
    shard = data.first()
    human = shard.human or [[] for _ in shard.texts]
    clips = shard.references or [[*people, *texts] for people, texts in zip(human, shard.texts, strict=True)]
    corpus = (caption_ids(captions, tokenizer, most) for captions in clips)
    classes = class_names(tagger) if tagger is not None and shard.logits.shape[1] else None
    return CaptionReward(recipe.loss, data.vocabulary, corpus, classes)


def _check(
    recipe: TrainingRecipe, data: str | Path, audio_only: str | Path | None, start: Start, tagger: Path | None
) -> None:
    """Raise RecipeError where the parts of a recipe contradict each other or the command."""
    if bool(recipe.optimizer.audio_only) != (audio_only is not None):
        raise RecipeError(
            "the recipe's optimizer.audio_only says how many clips of a batch come from the folder --audio-only: "
            + ("name the folder" if audio_only is None else "add --set optimizer.audio_only=CLIPS")
        )
    teaches_words = recipe.loss.caption or recipe.loss.reward
    captions_only = recipe.loss.tags == recipe.loss.frames == recipe.loss.clip == 0.0
    if recipe.model.freeze_encoder and (audio_only is not None or not captions_only):
        raise RecipeError(
            "model.freeze_encoder leaves the encoder nothing to learn: set loss.tags, loss.frames and loss.clip to 0 "
            "and leave --audio-only out, or set model.freeze_encoder to false"
        )
    if recipe.model.freeze_encoder and is_packed(str(data)):
        raise RecipeError(f"model.freeze_encoder needs a folder of shards that are not packed, and {data} is none")
    if recipe.augment.crop and teaches_words:
        raise RecipeError("captions describe whole clips: set augment.crop to 0, or loss.caption and loss.reward")
    if tagger is None and recipe.loss.reward and recipe.loss.false_claim:
        raise RecipeError("loss.false_claim needs the tagger: add --tagger FOLDER, or set loss.false_claim to 0")
    if tagger is None and recipe.loss.tags and (recipe.augment.crop or start.weights is not None):
        reason = "augment.crop" if recipe.augment.crop else "--encoder-weights"
        raise RecipeError(f"loss.tags with {reason} needs the tagger: add --tagger FOLDER, or set loss.tags to 0")


def _first_shard(recipe: TrainingRecipe, data: TrainingData, audio_only: TrainingData | None) -> Shard:
    """A shard to take sizes from. Raises TrainingDataError where shards do not fit each other or the recipe."""
    shards = [source.first() for source in (data, audio_only) if source is not None]
    shapes = {(shard.frames.shape[1:], shard.logits.shape[1:]) for shard in shards}
    if len(shapes) > 1:
        raise TrainingDataError(
            f"the shards of {data.address} and the audio-only ones are of different teachers; caption both with one"
        )
    if recipe.loss.tags and not shards[0].logits.shape[1]:
        raise TrainingDataError(
            f"{data.address} has no tag scores; set loss.tags to 0, or for recordings of your own add --tagger FOLDER"
        )
    if (recipe.loss.frames or recipe.loss.clip) and shards[0].frames.shape[2] == 1:
        raise TrainingDataError(
            f"{data.address} has no frames of a teacher; set loss.frames and loss.clip to 0, or add --tagger FOLDER"
        )
    return shards[0]


def _decides(reference: Reference) -> bool:
    return reference.group == "AudioCaps" and len(reference.captions) == 5
