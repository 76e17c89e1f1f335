"""Self-critical training: the rewards' right values, what is drawn, and that rewarded captions become likelier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.errors import OutputError
from edgecap.util.progress import no_progress
from edgecap_train.data.batches import Captions, ShardStream
from edgecap_train.data.recaption import NewWords, recaption_data
from edgecap_train.data.shards import read_shard, sole_writer
from edgecap_train.distill.augment import AugmentedBatch, Draws
from edgecap_train.distill.cached_features import CachedFeatures
from edgecap_train.distill.distillation_loss import DistillationLoss
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import LossRecipe
from edgecap_train.distill.reward import CaptionReward, CiderD, is_malformed
from edgecap_train.distill.self_critical import advantages, sample_captions, teacher_forcing
from edgecap_train.evaluation.held_out import cider_d
from edgecap_train.models.decoder import CaptionDecoder
from edgecap_train.models.student import Student, StudentConfig
from edgecap_train.models.yamnet import FRONT_END
from edgecap_train.teachers.consensus import ConsensusConfig, ConsensusIndex
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.tokenizer import END, PAD, START, Tokenizer, tokenize
from support.training_run import VOCABULARY, write_shards

TEXTS = (
    ("a dog barks", ["a dog barks twice", "a dog barks and then a dog barks"]),
    ("rain falls on a roof", ["rain falls", "heavy rain falls on a tin roof"]),
    ("a man speaks a man speaks", ["a man speaks", "a man is speaking"]),
    ("a bell", ["a train passes", "wheels squeal as a train passes"]),
)
WORDS = ("<pad>", "<start>", "<end>", "<unk>", *sorted({w for a, b in TEXTS for t in (a, *b) for w in t.split()}))


def ids(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def test_cider_d_is_that_of_aac_metrics() -> None:
    measured = CiderD([[ids(text) for text in references] for _, references in TEXTS])
    ours = [measured.scores([ids(text)], [ids(t) for t in references])[0] for text, references in TEXTS]
    theirs = cider_d([text for text, _ in TEXTS], [references for _, references in TEXTS])
    assert ours == pytest.approx(list(theirs.clips), rel=1e-5)
    assert ours[0] > ours[3] == 0.0


@pytest.mark.parametrize(
    ("text", "malformed"),
    [
        ("a dog barks <end>", False),
        ("a man speaks and a dog barks <end>", False),
        ("a dog barks", True),
        ("a dog barks and <end>", True),
        ("a dog dog barks <end>", True),
        ("a man speaks a man speaks <end>", True),
        ("a <unk> barks <end>", True),
        ("<end>", True),
    ],
)
def test_what_is_no_sentence_is_malformed(text: str, malformed: bool) -> None:
    assert is_malformed(ids(text), frozenset(ids("and a"))) is malformed


def batch(memory: torch.Tensor, references: list[list[list[int]]], logits: torch.Tensor) -> AugmentedBatch:
    clips = len(memory)
    length, none = torch.full((clips,), memory.shape[1]), [Captions() for _ in range(clips)]
    frames = torch.zeros(clips, 1, 1)
    return AugmentedBatch(memory, length, frames, logits, torch.ones(clips), none, none, references)


def test_a_sound_that_the_tagger_does_not_hear_costs_its_penalty() -> None:
    references = [[[*ids("a dog barks"), END]]]
    corpus = [references[0], [[*ids("a bell"), END]]]
    reward = CaptionReward(LossRecipe(false_claim=2.0), WORDS, corpus, ["Dog", "Rain"])
    texts = [[[*ids("a dog barks"), END], [*ids("rain falls"), END]]]
    heard = torch.logit(torch.tensor([[0.9, 0.001]]))
    right, wrong = reward.rewards(texts, batch(torch.zeros(1, 1, 1), references, heard))[0].tolist()
    assert right == pytest.approx(10.0)
    assert wrong == pytest.approx(-2.0)
    both = reward.rewards(texts, batch(torch.zeros(1, 1, 1), references, -3 * heard))[0].tolist()
    assert both == pytest.approx([8.0, 0.0])


def decoder() -> CaptionDecoder:
    torch.manual_seed(0)
    return CaptionDecoder(
        memory_dim=8, vocabulary_size=len(WORDS), d_model=16, heads=2, layers=1, feed_forward=16, dropout=0.5
    )


def test_drawn_captions_have_the_decoders_own_probabilities() -> None:
    words, memory, count = decoder().train(), torch.randn(1, 3, 8), 4_000
    drawn = torch.from_numpy(np.random.default_rng(0).random((1, count, 1)).astype(np.float32))
    sampled = sample_captions(words, memory, torch.tensor([3]), drawn)
    assert words.training
    first = np.bincount([caption[0] for caption in sampled[0]], minlength=len(WORDS))[END:] / count
    logits = words.eval()(torch.tensor([[START]]), memory, torch.tensor([3]))[0, 0].detach()
    expected = logits[END:].softmax(0).numpy()
    np.testing.assert_allclose(first, expected, atol=4 * np.sqrt(0.25 / count))


def test_a_clip_has_the_same_captions_in_any_batch_and_each_ends_once() -> None:
    words, memory, length = decoder(), torch.randn(3, 3, 8), torch.tensor([3, 1, 2])
    drawn = torch.from_numpy(np.random.default_rng(1).random((3, 4, 20)).astype(np.float32))
    together = sample_captions(words, memory, length, drawn)
    alone = [sample_captions(words, memory[i : i + 1], length[i : i + 1], drawn[i : i + 1])[0] for i in range(3)]
    assert together == alone
    assert all(END not in caption[:-1] and PAD not in caption for clip in together for caption in clip)
    inputs, targets = teacher_forcing(together, memory.device)
    assert inputs.shape == targets.shape
    assert (inputs[:, 0] == START).all()
    assert torch.equal(
        inputs[:, 1:].masked_fill(targets[:, 1:] == PAD, PAD), targets[:, :-1].where(targets[:, 1:] != PAD, PAD)
    )


def test_a_reward_counts_against_the_other_captions_of_its_clip() -> None:
    torch.testing.assert_close(
        advantages(torch.tensor([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])), torch.tensor([[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]])
    )


def test_the_reward_rises_when_it_is_followed() -> None:
    torch.manual_seed(0)
    config = StudentConfig(
        encoder="yamnet", front_end=FRONT_END, vocabulary_size=len(WORDS), d_model=32, heads=2, layers=1,
        feed_forward=32, dropout=0.0, max_tokens=6,
    )  # fmt: skip
    student = Student(config, CachedFeatures(8))
    recipe = LossRecipe(caption=0.0, tags=0.0, frames=0.0, reward=1.0, samples=32, false_claim=0.0)
    references = [[[*ids("a dog barks"), END]], [[*ids("rain falls"), END]]]
    reward = CaptionReward(recipe, WORDS, references)
    loss = DistillationLoss(student, teaching_heads(student, recipe, 1), recipe, bf16=False, reward=reward)
    clips = batch(torch.randn(2, 3, 8), references, torch.zeros(2, 1))
    optimizer, rewards = torch.optim.Adam(student.decoder.parameters(), 2e-3), []
    for step in range(150):
        parts, _ = loss.apart(clips, Draws(1, step, 2, (0, 1)), False)
        optimizer.zero_grad()
        total, count = parts["self_critical"]
        torch.autograd.backward(total / count)
        optimizer.step()
        rewards.append(float(parts["reward"][0] / parts["reward"][1]))
    assert np.mean(rewards[:10]) < 0.0
    assert np.mean(rewards[-10:]) > 2.0


def test_a_micro_batch_that_comes_again_has_the_same_captions() -> None:
    torch.manual_seed(0)
    config = StudentConfig(encoder="yamnet", front_end=FRONT_END, vocabulary_size=len(WORDS), dropout=0.0)
    student = Student(config, CachedFeatures(8))
    recipe = LossRecipe(tags=0.0, frames=0.0, reward=1.0, false_claim=0.0, captions_per_clip=1)
    references = [[[*ids("a dog barks"), END], [*ids("rain falls"), END], [*ids("a bell"), END]]]
    reward = CaptionReward(recipe, WORDS, references)
    loss = DistillationLoss(student, teaching_heads(student, recipe, 1), recipe, bf16=False, reward=reward)
    clips = replace(batch(torch.randn(1, 3, 8), references, torch.zeros(1, 1)), human=references)
    draws = Draws(1, 0, 1, (0,))
    first, second = (loss.apart(clips, draws, False)[0] for _ in range(2))
    assert {name: total.detach().item() for name, (total, _) in first.items()} == {
        name: total.detach().item() for name, (total, _) in second.items()
    }


def test_clips_joined_in_the_batch_have_no_reward() -> None:
    student = Student(
        StudentConfig(encoder="yamnet", front_end=FRONT_END, vocabulary_size=len(WORDS)), CachedFeatures(8)
    )
    recipe = LossRecipe(caption=0.0, tags=0.0, frames=0.0, reward=1.0, false_claim=0.0)
    references = [[[*ids("a dog barks"), END]]]
    reward = CaptionReward(recipe, WORDS, references)
    loss = DistillationLoss(student, teaching_heads(student, recipe, 1), recipe, bf16=False, reward=reward)
    joined = replace(batch(torch.randn(1, 3, 8), references, torch.zeros(1, 1)), original=torch.zeros(1))
    parts, _ = loss.apart(joined, Draws(1, 0, 1, (0,)), False)
    assert {name: float(count) for name, (_, count) in parts.items()} == {"self_critical": 0.0, "reward": 0.0}


def test_references_are_written_beside_scenes_and_reach_the_batch(tmp_path: Path) -> None:
    write_shards(tmp_path / "data" / "shards", shards=1)
    (tmp_path / "data" / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    texts = [("a low tone", "Hum"), ("a high tone", "Beep"), ("a high tone followed by a low tone", "Beep;Hum")]
    captions = [
        LabelledCaption(str(n), tokenize(text), tuple(labels.split(";"))) for n, (text, labels) in enumerate(texts)
    ]
    index = ConsensusIndex(captions, [f"class {n}" for n in range(525)] + ["Beep", "Hum"], ConsensusConfig())
    recaption_data(tmp_path / "data", tmp_path / "out", NewWords(None, index, 2), progress=no_progress)
    before, after = (read_shard(tmp_path / name / "shards" / "0000") for name in ("data", "out"))
    assert after.texts == before.texts
    assert {len(clip) for clip in after.references} == {2}
    stream = ShardStream(tmp_path / "out" / "shards", Tokenizer(VOCABULARY), 20, 1, 4)
    batches = stream.batches()
    assert all(len(clip) == 2 for clip in next(batches).references)


def test_two_commands_do_not_write_new_words_into_one_folder(tmp_path: Path) -> None:
    write_shards(tmp_path / "data" / "shards", shards=1)
    (tmp_path / "data" / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    out = tmp_path / "out"
    with sole_writer(out), pytest.raises(OutputError, match="is being written by another edgecap"):
        recaption_data(tmp_path / "data", out, NewWords(), progress=no_progress)
    assert [path.name for path in out.iterdir()] == [".lock"]
    recaption_data(tmp_path / "data", out, NewWords(), progress=no_progress)
    assert [path.name for path in (out / "shards").iterdir()] == ["0000"]
