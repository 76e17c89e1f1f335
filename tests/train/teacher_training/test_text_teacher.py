"""The teacher that learns from text alone: simulated scores, training, captions, new captions for old scenes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import edgecap_train as recipes
from edgecap.bundle.vocabulary import SPECIALS
from edgecap.cli import run as command
from edgecap.errors import CheckpointError, RecipeError, TrainingDataError, TrainingError
from edgecap_train.data.recaption import recaption
from edgecap_train.data.shards import EMBEDDING, MEMORY_FRAMES, read_shard
from edgecap_train.teacher_training.run_text import present_logits
from edgecap_train.teacher_training.score_noise import NoiseConfig, ScoreSimulator, logit
from edgecap_train.teacher_training.text_teacher import (
    TextBatch,
    TextOptimizer,
    TextRecipe,
    TextStream,
    TextTask,
    draw_chances,
    examples,
)
from edgecap_train.teachers.score_captioner import (
    CLASSES,
    ScoreCaptioner,
    ScoreCaptionerConfig,
    ScoreWriter,
    load_captioner,
)
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.teachers.teacher import TaggerTeacher
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.lexicon import ClaimCheck
from edgecap_train.text.tokenizer import END, Tokenizer
from edgecap_train.training.recipe import read_document
from edgecap_train.training.trainer import Trainer

VOCABULARY = (*SPECIALS, "a", "dog", "barks", "cat", "meows")
CLASS_NAMES = ["Dog", "Cat", *(f"class {number}" for number in range(CLASSES - 2))]
DOG, CAT = LabelledCaption("1", ("a", "dog", "barks"), ("Dog",)), LabelledCaption("2", ("a", "cat", "meows"), ("Cat",))


def lenders(clips: int = 40) -> np.ndarray:
    """Scores of clips in which now the dog, now the cat stands out, the dog always with class 5."""
    scores = np.random.default_rng(0).uniform(0.001, 0.01, (clips, CLASSES)).astype(np.float32)
    scores[::2, 0], scores[::2, 5], scores[1::2, 1] = 0.9, 0.7, 0.9
    return scores


def simulator(seed: int = 1, *, intruders: float = 0.4, jitter: float = 0.3) -> ScoreSimulator:
    noise = NoiseConfig(intruders=intruders, jitter=jitter)
    return ScoreSimulator(lenders(), logit(np.linspace(0.1, 0.95, 50, dtype=np.float32)), noise, seed)


def test_a_present_label_gets_the_scores_that_present_labels_get() -> None:
    quiet = simulator(intruders=0.0, jitter=0.0)
    drawn = np.array([quiet.draw([0])[0] for _ in range(400)])
    assert np.quantile(drawn, (0.1, 0.5, 0.9)) == pytest.approx(logit(np.array([0.19, 0.53, 0.87])), abs=0.35)


def test_what_sounds_with_a_label_is_raised_with_it_and_the_rest_is_not() -> None:
    quiet = simulator(intruders=0.0)
    drawn = np.mean([quiet.draw([0]) for _ in range(100)], axis=0)
    assert drawn[5] > drawn[1] + 2.0
    assert np.abs(drawn[10:] - quiet.rest[10:]).max() < 1.0


def test_an_unrelated_clip_is_laid_over_some_draws() -> None:
    simulated = simulator(intruders=0.5, jitter=0.0)
    raised = [simulated.draw([0])[1] > -2.0 for _ in range(200)]
    assert 0.05 < np.mean(raised) < 0.4


def test_a_simulator_needs_real_scores() -> None:
    with pytest.raises(ValueError, match="real clips"):
        ScoreSimulator(np.zeros((0, CLASSES), np.float32), np.zeros(3, np.float32), NoiseConfig(), 1)


def test_captions_that_cannot_be_learnt_are_left_out() -> None:
    strange = LabelledCaption("3", ("a", "wombat"), ("Dog",))
    nameless = LabelledCaption("4", ("a", "dog"), ("Wombat",))
    usable = examples([DOG, strange, nameless, CAT], CLASS_NAMES, Tokenizer(VOCABULARY))
    assert [example.labels for example in usable] == [(0,), (1,)]
    assert usable[0].tokens == (4, 5, 6, END)
    with pytest.raises(TrainingDataError, match="no caption"):
        examples([strange], CLASS_NAMES, Tokenizer(VOCABULARY))


TextTrainer = Trainer[TextBatch, ScoreCaptioner]


def trainer(
    folder: Path, steps: int, *, batch: int = 4, evaluate: Callable[[], None] = lambda: None, intruders: float = 0.4
) -> TextTrainer:
    """A run that evaluates every 10 steps and saves every 10."""
    optimizer = TextOptimizer(
        steps=steps, batch=batch, warm_up=5, encoder_rate=1e-2, decoder_rate=1e-2, bf16=False, average=0.9
    )
    recipe = TextRecipe(optimizer=optimizer, save_every=10, evaluate_every=10, record_every=20)
    data = examples([DOG, CAT], CLASS_NAMES, Tokenizer(VOCABULARY))

    def scores(captioner: ScoreCaptioner) -> dict[str, float]:
        evaluate()
        return {"cider_d": 0.5}

    stream = TextStream(data, simulator(intruders=intruders), VOCABULARY, recipe)
    small = ScoreCaptionerConfig(vocabulary_size=len(VOCABULARY), width=32, heads=2, layers=1, feed_forward=64)
    return Trainer(TextTask(recipe, stream, folder / "teacher.safetensors", scores, small), recipe, folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt the two captions."""
    folder = tmp_path_factory.mktemp("run")
    trainer(folder, 80, batch=8, intruders=0.0).run()
    return folder


def lines(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run, without what the clock says."""
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in {"clips_per_second", "waiting"}} for line in read]


def test_it_learns_from_text_to_say_what_scores_mean(run: Path) -> None:
    captioner, vocabulary = load_captioner(run / "teacher.safetensors")
    assert vocabulary == VOCABULARY
    for label, text in ((0, "a dog barks"), (1, "a cat meows")):
        best = captioner.captions(torch.from_numpy(logit(lenders()[label])), 3)[0]
        assert " ".join(vocabulary[token] for token in best) == text
    caption = [line["caption"] for line in lines(run) if "caption" in line]
    assert len(caption) == 4
    assert caption[-1] < 0.5 * caption[0]


def test_a_run_that_was_cut_short_is_resumed_to_the_same_losses_and_weights(tmp_path: Path) -> None:
    trainer(tmp_path / "unbroken", 24).run()
    evaluations: list[int] = []

    def killed() -> None:
        evaluations.append(1)
        if len(evaluations) == 3:  # after the save at 20 and the line of metrics at 20
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", 24, evaluate=killed).run()
    trainer(tmp_path / "cut", 24).run()
    assert lines(tmp_path / "cut") == lines(tmp_path / "unbroken")
    assert [line["step"] for line in lines(tmp_path / "cut")] == [10, 20, 20, 24]
    one, other = (load_captioner(tmp_path / name / "teacher.safetensors")[0] for name in ("unbroken", "cut"))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path: Path) -> None:
    broken = trainer(tmp_path, 5)
    with torch.no_grad():
        broken.task.network.decoder.embedding.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"not a number at step 0 .* with the clips a (dog barks|cat meows), "):
        broken.run()
    assert not (tmp_path / "teacher.safetensors").exists()


def test_the_last_average_is_kept_whatever_its_score(run: Path) -> None:
    captioner, _ = load_captioner(run / "teacher.safetensors")
    averaged = torch.load(run / "last.pt", weights_only=True)["average"]
    for name, tensor in captioner.state_dict().items():
        torch.testing.assert_close(tensor, averaged[f"module.{name}"])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[noise]\nintruder = 0.1\n", r"noise\.intruder"),
        ("save_every = 0\n", "save_every"),
        ("[optimizer]\nbatch = 0\n", "batch"),
        ("[optimizer]\nwarm_up = -1\n", "warm_up"),
        ("steps = 10\n", r"unknown key steps; it is now optimizer\.steps"),
        ("rate = 1e-3\n", r"it is now optimizer\.decoder_rate"),
        ("seed = -1\n", "seed"),
        ("[noise]\njitter = -0.1\n", "jitter"),
    ],
)
def test_a_recipe_with_an_unknown_key_or_an_impossible_value_is_refused(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "text.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=place):
        read_document(path, TextRecipe)


def test_a_run_folder_tells_where_the_captioner_comes_from(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "recipe.json",
        "run.json",
        "metrics.jsonl",
        "curves",
        "last.pt",
        "teacher.safetensors",
    }
    assert {"revision", "device", "command"} <= set(json.loads((run / "run.json").read_text()))


def test_another_file_is_not_a_captioner(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="edgecap train teacher"):
        load_captioner(path)


def test_the_teacher_puts_the_taggers_scores_into_words(run: Path) -> None:
    teacher = TaggerTeacher(Tagger().eval(), ScoreWriter.load(run / "teacher.safetensors", CLASS_NAMES))
    captions = teacher.captions(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32), most=3)
    assert 1 <= len(captions) <= 3
    assert all(word in VOCABULARY for caption in captions for word in caption.split())


def test_evaluating_its_run_says_that_it_needs_the_tagger(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.csv").write_text("file,caption\na.wav,a dog\n")
    assert command(["evaluate", str(run), "--data", str(tmp_path / "table.csv")]) == 2
    assert "add --tagger FOLDER" in capsys.readouterr().err


def test_claims_without_support_come_last(run: Path) -> None:
    writer = ScoreWriter.load(run / "teacher.safetensors", CLASS_NAMES)
    quiet = np.full(CLASSES, -9.0, np.float32)
    quiet[0], quiet[1] = -2.5, 1.0  # the dog is below what "dog" needs
    sentences = writer.captions(torch.from_numpy(quiet), 6)
    check = ClaimCheck(CLASS_NAMES)
    scores = torch.sigmoid(torch.from_numpy(quiet)).numpy()
    false = [check.is_false(words, scores) for words in sentences]
    assert false == sorted(false)
    assert check.is_false(("a", "dog", "barks"), scores)
    assert not check.is_false(("a", "cat", "meows"), scores)


def test_rare_labels_are_drawn_more_often_than_their_share() -> None:
    data = examples([DOG] * 99 + [CAT], CLASS_NAMES, Tokenizer(VOCABULARY))
    even, fair = (draw_chances(data, rarity)[-1] for rarity in (0.0, 0.5))
    assert even == pytest.approx(0.01)
    assert fair == pytest.approx(1 / (1 + 99**0.5))


def test_new_captions_leave_exact_ones_alone(run: Path, tmp_path: Path) -> None:
    writer = ScoreWriter.load(run / "teacher.safetensors", CLASS_NAMES)
    joined = [["a", "dog", "followed", "by", "a", "cat"]]
    folder = tmp_path / "0000"
    folder.mkdir()
    np.save(folder / "audio.npy", np.zeros((2, 100), np.int16))
    np.save(folder / "frames.npy", np.zeros((2, MEMORY_FRAMES, EMBEDDING), np.float16))
    np.save(folder / "logits.npy", logit(lenders(2)).astype(np.float16))
    np.save(folder / "lengths.npy", np.full(2, 100))
    (folder / "texts.json").write_text(json.dumps([[["a", "cat"]], joined]))
    assert recaption(folder, writer, Tokenizer(VOCABULARY)) == 1
    texts = read_shard(folder).texts
    assert texts[0][0] == ("a", "dog", "barks")
    assert texts[1] == [tuple(joined[0])]
    (folder / "texts.json").write_text(json.dumps([[["a", "cat"], ["a", "dog", "barks"]], joined]))
    assert recaption(folder, writer, Tokenizer(VOCABULARY), keep=True) == 1
    assert read_shard(folder).texts == [[("a", "dog", "barks"), ("a", "cat")], [tuple(joined[0])]]


def test_the_command_gives_scenes_another_teachers_captions_and_leaves_the_scenes_as_they_were(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, tagger = tmp_path / "data", tmp_path / "tagger"
    folder = data / "shards" / "0000"
    folder.mkdir(parents=True)
    tagger.mkdir()
    with (tagger / "class_labels_indices.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["display_name"], *([name] for name in CLASS_NAMES)])
    (data / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    np.save(folder / "audio.npy", np.arange(200, dtype=np.int16).reshape(2, 100))
    np.save(folder / "frames.npy", np.zeros((2, MEMORY_FRAMES, EMBEDDING), np.float16))
    np.save(folder / "logits.npy", logit(lenders(2)).astype(np.float16))
    np.save(folder / "lengths.npy", np.full(2, 100))
    (folder / "texts.json").write_text(json.dumps([[["a", "cat"]], [["a", "cat"]]]))
    arguments = [
        "train",
        "recaption",
        str(data),
        "--captioner",
        str(run / "teacher.safetensors"),
        "--tagger",
        str(tagger),
        "-o",
        str(tmp_path / "out"),
    ]
    assert command(arguments) == 0
    assert "captions by teacher.safetensors" in capsys.readouterr().out
    table = tmp_path / "captions.csv"
    table.write_text("youtube_id,caption,labels\n1,a dog barks,Dog\n2,a cat meows,Cat\n3,a dog barks a dog,Dog\n")
    both = [*arguments[:-1], str(tmp_path / "both"), "--captions", str(table)]
    assert command(both) == 0
    assert "captions by teacher.safetensors and captions.csv" in capsys.readouterr().out
    chosen = read_shard(tmp_path / "both" / "shards" / "0000").texts
    assert chosen[0][0] == ("a", "dog", "barks")
    old, new = (read_shard(place / "shards" / "0000") for place in (data, tmp_path / "out"))
    assert [captions[0] for captions in old.texts] == [("a", "cat")] * 2
    assert [captions[0] for captions in new.texts] == [("a", "dog", "barks"), ("a", "cat", "meows")]
    assert np.array_equal(old.audio, new.audio)
    assert (tmp_path / "out" / "vocabulary.json").read_text() == (data / "vocabulary.json").read_text()


def test_the_recipe_of_the_bundled_models_teacher_is_read() -> None:
    path = Path(recipes.__file__ or "").parent / "recipes" / "text-teacher.toml"
    assert read_document(path, TextRecipe).noise == NoiseConfig()


def test_too_few_labelled_recordings_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("youtube_id,caption,labels\nxyz,A dog barks,Dog\n")
    with pytest.raises(TrainingDataError, match=r"labels\.csv has the labels of recordings with 0 present"):
        present_logits(Tagger().eval(), CLASS_NAMES, [], table)
