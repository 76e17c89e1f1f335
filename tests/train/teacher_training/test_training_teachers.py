"""Training of HTSAT-BART, from nothing and from parts, and a teacher's captions of a folder kept as shards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.cli import run
from edgecap.errors import AudioError, CheckpointError, ConfigError, RecipeError, TableError, TrainingDataError
from edgecap.util.progress import Progress, no_progress
from edgecap_train.data.batches import ShardStream
from edgecap_train.data.pseudo import PseudoRecipe, pseudo_caption, windows
from edgecap_train.data.shards import read_shard
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.teacher_training.htsat_training import RecordingStream, TeacherRecipe
from edgecap_train.teacher_training.run_htsat import train_htsat_bart
from edgecap_train.teachers.bart_tokenizer import BartPieces, learn_pieces, read_bart_words
from edgecap_train.teachers.consensus import ConsensusConfig, ConsensusIndex
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import ACADEMIC_ONLY, load_htsat_bart, place_partial, save_htsat_bart
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.teachers.teacher import ConsensusTeacher, HtsatBartTeacher
from edgecap_train.text.captions import LabelledCaption
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.recipe import read_document
from support.signals import noise, tone

pytest.importorskip("transformers", reason="the extra edgecap[teacher] is not installed")

RECIPE = """
name = "small"
pieces = 300
evaluate_every = 3
save_every = 3
record_every = 1
[shape]
patch_width = 16
depths = [1, 1, 1, 1]
audio_heads = [1, 2, 4, 8]
d_model = 32
layers = 1
heads = 2
feed_forward = 32
[optimizer]
steps = 3
batch = 2
encoder_rate = 1e-3
decoder_rate = 1e-2
warm_up = 1
bf16 = false
"""
CAPTIONS = ("a low tone sounds", "white noise hisses")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of three recordings, one of which is no sound."""
    folder = tmp_path_factory.mktemp("data")
    soundfile.write(folder / "tone.wav", tone(1.5, 32_000), 32_000)
    soundfile.write(folder / "noise.wav", noise(1.0), 16_000)
    (folder / "broken.wav").write_bytes(b"nothing")
    (folder / "recipe.toml").write_text(RECIPE)
    rows = [f"tone.wav,{CAPTIONS[0]},a tone", f"noise.wav,{CAPTIONS[1]},", f"broken.wav,{CAPTIONS[1]},"]
    (folder / "train.csv").write_text("\n".join(["file,caption_1,caption_2", *rows]) + "\n")
    (folder / "development.csv").write_text("\n".join(["file,caption_1,caption_2", *rows[:2]]) + "\n")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    """The run folder of a small teacher that was trained from nothing."""
    out = data / "run"
    recipe = read_document(data / "recipe.toml", TeacherRecipe)
    left_out = train_htsat_bart(recipe, data / "train.csv", out, development=data / "development.csv")
    assert [path.name for path in left_out] == ["broken.wav"]
    return out


def test_a_teacher_learns_from_nothing_and_captions_sounds(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    supervised = [line["supervised"] for line in lines if "supervised" in line]
    assert len(supervised) == 3
    assert supervised[-1] < supervised[0]
    assert lines[-1]["step"] == 3
    assert "cider_d" in lines[-1]
    teacher = HtsatBartTeacher.load(trained / "teacher.safetensors", trained / "vocab.json")
    assert teacher.notes == ()
    assert teacher.embedding(tone(1.0, 32_000)).shape == (128,)
    assert teacher.frames(tone(1.0, 32_000)).shape == (32, 128)
    assert isinstance(teacher.captions(tone(1.0, 32_000))[0], str)


def test_a_development_set_of_one_recording_is_refused_before_anything_is_learnt(data: Path, tmp_path: Path) -> None:
    recipe = read_document(data / "recipe.toml", TeacherRecipe)
    one = data / "one.csv"
    one.write_text("file,caption_1\ntone.wav,a tone\n")
    with pytest.raises(TableError, match="names 1 recording, and a score needs at least 2"):
        train_htsat_bart(recipe, data / "train.csv", tmp_path / "run", development=one)
    assert not (tmp_path / "run").exists()


def test_the_run_of_a_teacher_is_evaluated_by_its_folder(
    data: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = data / "page.html"
    arguments = ["evaluate", str(trained), "--data", str(data / "development.csv"), "--json", "--html", str(page)]
    assert run(arguments) == 0
    clips = json.loads(capsys.readouterr().out)["clips"]
    teacher = HtsatBartTeacher.load(trained / "teacher.safetensors", trained / "vocab.json")
    assert clips[0]["caption"] == teacher.captions(tone(1.5, 32_000))[0]
    assert page.read_text().count("<article>") == 2


def test_a_run_of_a_teacher_that_has_ended_is_left_as_it_is(data: Path, trained: Path, tmp_path: Path) -> None:
    again = shutil.copytree(trained, tmp_path / "run")
    before = (again / "last.pt").read_bytes()
    recipe = read_document(data / "recipe.toml", TeacherRecipe)
    train_htsat_bart(recipe, data / "train.csv", again, development=data / "development.csv")
    assert (again / "last.pt").read_bytes() == before


def test_a_teacher_begins_with_the_parts_that_fit(trained: Path, tmp_path: Path) -> None:
    saved = load_htsat_bart(trained / "teacher.safetensors").teacher
    tensors = load_file(trained / "teacher.safetensors")
    bare = {
        name.removeprefix("encoder.audio_enc."): tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder.audio_enc.")
    }
    save_file({f"sed_model.{name}": tensor for name, tensor in bare.items()}, tmp_path / "htsat.safetensors")
    fresh = HtsatBart(saved.config)
    placed = place_partial(fresh, tmp_path / "htsat.safetensors")
    assert 0 < placed.tensors == len(bare) < placed.of
    assert placed.notes == ()
    for name, tensor in saved.state_dict().items():
        if name.startswith("audio."):
            torch.testing.assert_close(fresh.state_dict()[name], tensor)
    assert not torch.equal(fresh.projection.weight, saved.projection.weight)
    bart = {name.removeprefix("decoder."): tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    save_file(bart, tmp_path / "bart.safetensors")
    assert place_partial(fresh, tmp_path / "bart.safetensors").tensors == len(bart)
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no tensor that fits"):
        place_partial(fresh, tmp_path / "other.safetensors")


def test_a_saved_teacher_is_read_with_its_own_shape_and_a_stripped_one_is_academic(
    trained: Path, tmp_path: Path
) -> None:
    saved = load_htsat_bart(trained / "teacher.safetensors")
    save_htsat_bart(tmp_path / "again.safetensors", saved.teacher)
    again = load_htsat_bart(tmp_path / "again.safetensors")
    for name, tensor in saved.teacher.state_dict().items():
        torch.testing.assert_close(again.teacher.state_dict()[name], tensor)
    save_file(load_file(tmp_path / "again.safetensors"), tmp_path / "stripped.safetensors")
    assert load_htsat_bart(tmp_path / "stripped.safetensors", saved.teacher.config).notes == (ACADEMIC_ONLY,)


def test_what_begins_with_academic_weights_stays_academic(trained: Path, tmp_path: Path) -> None:
    saved = load_htsat_bart(trained / "teacher.safetensors")
    save_file(load_file(trained / "teacher.safetensors"), tmp_path / "wavcaps.safetensors")
    placed = place_partial(saved.teacher, tmp_path / "wavcaps.safetensors")
    assert placed.notes == (ACADEMIC_ONLY,)
    save_htsat_bart(tmp_path / "tuned.safetensors", saved.teacher, placed.notes)
    assert load_htsat_bart(tmp_path / "tuned.safetensors").notes == (ACADEMIC_ONLY,)
    assert place_partial(saved.teacher, tmp_path / "tuned.safetensors").notes == (ACADEMIC_ONLY,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("evaluate_every = 0\n", "evaluate_every"),
        ("pieces = 100\n", "pieces"),
        ("[shape]\nheads = 5\n", "not a multiple of 5"),
        ("[shape]\naudio_heads = [4, 8, 16, 31]\n", "audio stage 4"),
        ("[optimizer]\naudio_only = 2\n", r"unknown key optimizer\.audio_only"),
    ],
)
def test_a_recipe_of_a_teacher_with_an_impossible_value_is_refused(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(RecipeError, match=place):
        read_document(tmp_path / "recipe.toml", TeacherRecipe)


def test_what_a_recipe_leaves_out_is_a_teachers_default_and_not_a_students(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[optimizer]\nsteps = 5\n")
    optimizer = read_document(tmp_path / "recipe.toml", TeacherRecipe).optimizer
    assert (optimizer.steps, optimizer.encoder_rate, optimizer.warm_up) == (5, 5e-5, 2_000)


def test_a_teacher_works_on_the_device_where_it_is(trained: Path) -> None:
    model = load_htsat_bart(trained / "teacher.safetensors").teacher.to("meta")
    assert HtsatBartTeacher(model)._frames(tone(1.0, 32_000)).device.type == "meta"


def test_pieces_spell_every_caption_and_are_read_back(tmp_path: Path) -> None:
    pieces = learn_pieces(CAPTIONS * 5, tmp_path, 290)
    words = read_bart_words(tmp_path / "vocab.json", pieces.size)
    for text in (*CAPTIONS, "an unheard ümlaut!"):
        ids = pieces.ids(text, 60)
        assert ids is not None
        assert (ids[0], ids[-1]) == (0, 2)
        assert words.text(ids) == text
    assert pieces.ids("a low tone sounds " * 9, 20) is None
    with pytest.raises(CheckpointError, match=r"merges\.txt"):
        BartPieces(tmp_path / "none")


def test_recordings_come_in_an_order_that_can_be_resumed_and_too_few_are_refused(data: Path, trained: Path) -> None:
    pieces = BartPieces(trained)
    files = [Reference(data / name, "", CAPTIONS) for name in ("tone.wav", "noise.wav", "broken.wav")]
    stream = RecordingStream(files, pieces, 3, 1).batches()
    batches = [next(stream) for _ in range(5)]
    again = RecordingStream(files, pieces, 3, 1).batches(batches[1].state)
    assert [next(again).clips for _ in range(3)] == [batch.clips for batch in batches[2:]]
    assert {clip for batch in batches for clip in batch.clips} == {"tone.wav", "noise.wav"}
    with pytest.raises(TrainingDataError, match="2 recordings can be read"):
        next(RecordingStream(files, pieces, 3, 3).batches())


@pytest.fixture(scope="module")
def consensus() -> ConsensusTeacher:
    torch.manual_seed(0)
    captions = [LabelledCaption("x", tuple(text.split()), ("Dog",)) for text in ("a dog barks", "a hound barks")]
    index = ConsensusIndex(captions, ["Dog"] + [f"class {n}" for n in range(526)], ConsensusConfig(neighbours=1))
    return ConsensusTeacher(Tagger().eval(), index)


def test_a_folder_is_captioned_window_by_window_and_a_broken_file_is_named(
    consensus: ConsensusTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecap_train.teachers.consensus.ConsensusIndex.false", lambda self, scores: np.zeros(2, bool))
    sounds, out = tmp_path / "sounds", tmp_path / "out"
    (sounds / "below").mkdir(parents=True)
    for name in ("tone.wav", "broken.wav"):
        shutil.copy(data / name, sounds / name)
    soundfile.write(sounds / "below" / "long.oga", noise(12.0), 16_000, format="OGG")
    counted: list[tuple[float, float | None]] = []
    skipped = pseudo_caption(
        consensus,
        sounds,
        out,
        PseudoRecipe(per_shard=2, captions=2),
        progress=lambda done, total, label="": counted.append((done, total)),
    )
    assert skipped == 1
    assert counted == [(2, 3), (3, 3)]
    first, second = (read_shard(out / "shards" / name) for name in ("0000", "0001"))
    assert first.audio.shape == (2, 160_000)
    assert first.lengths.tolist() == pytest.approx([160_000, 32_000], abs=2)
    assert second.lengths.tolist() == [24_000]
    clips = json.loads((out / "shards" / "0000" / "clips.json").read_text())
    assert [(clip["file"], clip.get("start")) for clip in clips] == [
        ("below/long.oga", 0.0),
        ("below/long.oga", 10.0),
        ("broken.wav", None),
    ]
    assert "broken.wav" in clips[2]["skipped"]
    samples = next(windows(sounds / "tone.wav", 32_000))[1]
    np.testing.assert_allclose(
        np.load(out / "shards" / "0001" / "embeddings.npy")[0], consensus.embedding(samples), atol=2e-2
    )
    np.testing.assert_allclose(second.logits[0], consensus.tags(samples).logits[0], atol=2e-2)
    words = read_vocabulary(out / "vocabulary.json")
    batch = next(ShardStream(out / "shards", Tokenizer(words), 20, 0, 2, audio_only=True).batches())
    assert all(batch.pseudo)
    assert not any(batch.human)


def test_captioning_a_folder_is_resumed_where_it_was_stopped(
    consensus: ConsensusTeacher, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecap_train.teachers.consensus.ConsensusIndex.false", lambda self, scores: np.zeros(2, bool))
    sounds, out = tmp_path / "sounds", tmp_path / "out"
    sounds.mkdir()
    for number in range(3):
        shutil.copy(data / "tone.wav", sounds / f"{number}.wav")

    def stop(done: float, total: float | None, label: str = "") -> None:
        raise KeyboardInterrupt

    def go(progress: Progress = no_progress) -> None:
        pseudo_caption(consensus, sounds, out, PseudoRecipe(per_shard=1, captions=1), progress=progress)

    with pytest.raises(KeyboardInterrupt):
        go(stop)
    (out / "shards" / "0001.partial").mkdir()  # of a process that was killed in it
    kept = (out / "shards" / "0000" / "audio.npy").stat().st_mtime_ns
    go()
    assert (out / "shards" / "0000" / "audio.npy").stat().st_mtime_ns == kept
    assert sorted(path.name for path in (out / "shards").iterdir()) == ["0000", "0001", "0002"]
    (sounds / "3.wav").write_bytes((sounds / "2.wav").read_bytes())
    with pytest.raises(ConfigError, match="other files"):
        go()
    with pytest.raises(AudioError, match="no sound files"):
        pseudo_caption(consensus, out / "shards" / "0000", tmp_path / "x", PseudoRecipe(), progress=no_progress)


def test_the_commands_name_what_is_missing_in_one_line(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pseudo.toml").write_text("per_shard = 2\n")
    caption = ["train", "pseudo-caption", str(tmp_path / "pseudo.toml"), "-o", str(tmp_path / "out")]
    assert run([*caption, "--audio", str(data)]) == 2
    assert run([*caption, "--audio", str(data), "--set", "captions=0"]) == 2
    assert run([*caption, "--audio", str(data), "--checkpoint", "x.pt", "--captions", "y.csv"]) == 2
    assert (
        run(
            [
                "train",
                "teacher",
                "htsat-bart",
                str(data / "recipe.toml"),
                "--data",
                str(data / "train.csv"),
                "--development",
                str(data / "development.csv"),
                "-o",
                str(tmp_path / "run"),
                "--set",
                "shape.depth=3",
            ]
        )
        == 2
    )
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    places = ("name one teacher", "captions must be", "name one teacher", "shape.depth")
    for line, place in zip(errors, places, strict=True):
        assert place in line
    checkpoint = str(trained / "teacher.safetensors")
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    shutil.copy(data / "tone.wav", sounds / "tone.wav")
    assert run([*caption, "--audio", str(sounds), "--checkpoint", checkpoint]) == 0
    assert "captions by htsat-bart" in capsys.readouterr().out
    assert read_shard(tmp_path / "out" / "shards" / "0000").frames.shape == (1, 32, 128)
