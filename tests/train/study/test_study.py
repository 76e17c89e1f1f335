"""The study: true captions of trusted clips, data made once, rows that differ in what they say, a table."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.bundle.vocabulary import SPECIALS
from edgecap.errors import ConfigError, TableError, TrainingDataError
from edgecap.util.progress import no_progress
from edgecap_train.data.pool import Pool, PoolClip
from edgecap_train.distill.cached_features import CachedFeatures
from edgecap_train.evaluation.held_out import Reference, read_scored_references
from edgecap_train.models.search import search
from edgecap_train.study.claims import DRAWS
from edgecap_train.study.data import (
    KINDS,
    StudySources,
    is_prepared,
    judged_rows,
    prepare_scenes,
    scene_maker,
    trusted_clips,
)
from edgecap_train.study.evaluation_sets import HeldOut, prepare_evaluation, read_sets, same_arguments, sources_of
from edgecap_train.study.evaluator import Evaluator, greedy_captions, joined_shards
from edgecap_train.study.models import split_yamnet, study_student
from edgecap_train.study.report import rewrite_report, write_report
from edgecap_train.study.results import missing, read_results
from edgecap_train.study.study import CLASSES_FILE, ROWS, Study, StudyRecipe, rows_of
from edgecap_train.teachers.tagger import Tagger, load_tagger
from edgecap_train.text import label_templates as trusted
from edgecap_train.training.recipe import read_document

SHARED = os.environ.get("EDGECAP_SHARED")
SMALL = StudyRecipe(seeds=[1, 2], steps=2, batch=4, full=12, scarce=8, audio_only=8, judged=4, bf16=False)


def pool() -> Pool:
    """Half-second clips: 22 dogs and 22 cats of ESC-50 in two folds, and two sounds of a game."""
    files = [
        (f"esc50/{label}-{fold}-{number}-a.opus", "esc50", label)
        for label in ("dog", "cat")
        for fold, count in ((1, 20), (5, 2))
        for number in range(count)
    ]
    files += [(f"game/{number}.opus", "game", "dog") for number in range(2)]
    length = 16_000
    clips = tuple(PoolClip(*names, index * length, length) for index, names in enumerate(files))
    samples = (np.random.default_rng(0).standard_normal(length * len(clips)) * 3_000).astype(np.int16)
    return Pool(clips, samples)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of a few scenes, its data made with networks of random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("study")
    words = sorted(
        {
            word
            for sound in trusted.SOUNDS.values()
            for words in (*trusted.one(sound), *trusted.after(sound, sound), *trusted.together(sound, sound))
            for word in words
        }
    )
    (folder / "vocabulary.json").write_text(json.dumps([*SPECIALS, *words]))
    (folder / CLASSES_FILE).write_text(json.dumps(["Dog", "Rain", *(f"Class {n}" for n in range(525))]))
    labels: list[str] = []
    progress = lambda done, total, label="": labels.append(label)  # noqa: E731
    prepare_scenes(sources(), folder, SMALL.sizes, 1, progress=progress)
    prepare_evaluation(sources(), folder, references(folder), held_out(folder), progress=progress)
    assert set(labels) == {*KINDS, "AudioCaps", "Clotho", "Lonely", "street", "broken"}
    return Study(folder, SMALL, None)


def sources() -> StudySources:
    return StudySources(pool(), pool(), Tagger().eval(), lambda scores: [("a", "dog", "barks")], split_yamnet(None)[0])


def recording(path: Path, seconds: float) -> Path:
    import soundfile

    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.random.default_rng(1).standard_normal(int(16_000 * seconds)) * 0.1, 16_000)
    return path


def references(folder: Path) -> list[Reference]:
    """Two recordings of one source, three of another, one alone."""
    file = recording(folder / "recording.wav", 2.0)
    people = ("a dog barks",) * 5
    return [
        *[Reference(file, "AudioCaps", people, split="val")] * 2,
        *[Reference(file, "Clotho", people)] * 3,
        Reference(file, "Lonely", people),
    ]


def held_out(folder: Path) -> HeldOut:
    """A pool of a set of four sounds, one of them very short, one that cannot be read, and of one that has none."""
    street = folder / "streets"
    files = [recording(street / f"{number}.wav", 0.2 + number) for number in range(4)]
    (street / "4.wav").write_bytes(b"no sound")
    rows = [f"{file.name},street,street" for file in (*files, street / "4.wav")]
    (street / "manifest.csv").write_text("\n".join(["file,set,label", *rows, "5.wav,broken,rain"]))
    return HeldOut((street,), ("street", "broken"))


def test_only_labels_that_can_be_trusted_are_captions_and_the_fifth_fold_is_kept_for_judging() -> None:
    sounds = pool()
    learnt, held = (trusted_clips(sounds, held_out=held_out) for held_out in (False, True))
    assert (len(learnt), len(held)) == (40, 4)
    assert trusted.sound_of("game/0.opus", "game", "dog") is None
    assert trusted.is_held_out("esc50/car-horn-5-204114-a.opus")
    assert not trusted.is_held_out("esc50/car-horn-4-5-a.opus")


def test_captions_are_true_to_how_a_scene_was_made() -> None:
    dog, rain = trusted.SOUNDS["dog"], trusted.SOUNDS["rain"]
    assert ("a", "dog", "is", "barking") in trusted.one(dog)
    for words in trusted.after(dog, rain):
        assert words.index("dog") < words.index("rain")
        assert {"followed", "then"} & set(words)
    for words in trusted.together(dog, rain):
        assert {"and", "as", "while"} & set(words)
        assert "followed" not in words
    assert ("birds", "are", "chirping") in trusted.one(trusted.SOUNDS["chirping birds"])


def test_scarce_scenes_come_from_a_tenth_of_the_clips_and_audio_only_ones_from_no_trusted_clip() -> None:
    sounds, clips_used = pool(), {}
    for kind in KINDS:
        used: set[int] = set()
        watched = Pool(sounds.clips, sounds.samples)
        object.__setattr__(watched, "read", lambda index, used=used: (used.add(int(index)), sounds.read(index))[1])
        maker = scene_maker(watched, kind, np.random.default_rng(0))
        scenes = [next(maker) for _ in range(60)]
        clips_used[kind] = used
        assert all(scene.samples.shape == (160_000,) for scene in scenes)
        assert all(bool(scene.human) == (kind != "audio_only") for scene in scenes)
    assert len(clips_used["scarce"]) == 4
    assert len(clips_used["full"]) > 30
    assert not clips_used["full"] & clips_used["judged"]
    assert clips_used["audio_only"] == {44, 45}
    with pytest.raises(TrainingDataError, match="no clips for the study's audio_only"):
        next(scene_maker(Pool(sounds.clips[:44], sounds.samples), "audio_only", np.random.default_rng(0)))


def test_a_held_out_set_is_in_no_scene(tmp_path: Path) -> None:
    sounds = pool()
    assert not trusted_clips(sounds, held_out=False, without=frozenset({"esc50"}))
    with pytest.raises(TrainingDataError, match="no clips for the study's audio_only"):
        next(scene_maker(sounds, "audio_only", np.random.default_rng(0), frozenset({"game"})))
    with pytest.raises(TrainingDataError, match="no clips for the study's full"):
        next(scene_maker(sounds, "full", np.random.default_rng(0), frozenset({"esc50"})))
    rows = ["esc50/dog-5-1-a.opus,esc50,dog", "esc50/dog-1-1-a.opus,esc50,dog", "esc50/x-5-1-a.opus,esc50,unheard of"]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,set,label", *rows]))
    assert [row["file"] for row in judged_rows(tmp_path)] == ["esc50/dog-5-1-a.opus"]


def test_a_shard_that_is_there_is_not_made_again(prepared: Study) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.folder.rglob("*.npy")}
    assert before
    assert is_prepared(prepared.folder, SMALL.sizes)
    assert not is_prepared(prepared.folder, {"full": 10_000})

    def refuse(scores: np.ndarray) -> list[tuple[str, ...]]:
        raise AssertionError("asked again")

    asked = replace(sources(), captions=refuse)
    prepare_scenes(asked, prepared.folder, SMALL.sizes, 1, progress=no_progress)
    assert {path: path.stat().st_mtime_ns for path in prepared.folder.rglob("*.npy")} == before


def test_captions_are_judged_on_scenes_on_each_source_and_on_each_held_out_set(prepared: Study) -> None:
    sets = [(one.measure, one.name) for one in read_sets(prepared.folder)]
    assert sets == [
        ("judged", "ESC-50, fifth fold"),
        ("recordings", "AudioCaps"),
        ("recordings", "Clotho"),
        ("tagged", "street"),
    ]
    with pytest.raises(TableError, match="no pool has a set 'wood'; there are broken, street"):
        HeldOut(held_out(prepared.folder).pools, ("wood",)).files()
    with pytest.raises(TrainingDataError, match="not prepared"):
        read_sets(prepared.folder / "none")


@pytest.mark.skipif(SHARED is None, reason="needs the recordings, sounds and tagger of EDGECAP_SHARED")
def test_real_recordings_and_held_out_sets_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Path(str(SHARED))
    rows = read_scored_references(shared / "data" / "dev" / "dev.csv")
    by_name = sources_of(rows)
    counts = {name: len(places) for name, places in by_name.items()}
    assert counts == {"AudioCaps train": 31, "AudioCaps val": 46, "Clotho v2.1": 25}
    monkeypatch.setattr("edgecap_train.study.evaluation_sets.LEAST_RECORDINGS", 2)
    few = [rows[place] for places in by_name.values() for place in places[:2]]
    held = HeldOut((shared / "data" / "audio", shared / "data" / "audio2"), ("urbansound_sub", "is3"), most=2)
    asked = replace(sources(), tagger=load_tagger(shared / "models" / "efficientat"))
    prepare_evaluation(asked, tmp_path, few, held, progress=no_progress)
    sets = read_sets(tmp_path)
    assert [one.measure for one in sets] == ["judged", *["recordings"] * 3, *["tagged"] * 2]
    assert len(judged_rows(shared / "data" / "audio")) > 350
    for one in sets[1:]:
        shard = joined_shards(tmp_path / one.folder / "shards", "trunk")
        assert shard.audio.shape == (2, 512, 62, 4)
        assert all(shard.human) == (one.measure == "recordings")


def test_a_caption_is_right_where_it_names_what_the_tagger_hears(
    prepared: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = json.loads((prepared.folder / CLASSES_FILE).read_text())
    tagged = [one for one in read_sets(prepared.folder) if one.measure == "tagged"]
    evaluator = Evaluator(prepared.folder, tagged, "trunk", (), classes)
    ((one, shard),) = evaluator.shards
    logits = np.full((3, 527), -5.0, np.float16)
    logits[:2, 0], logits[2, 1], logits[:, 9] = 2.0, 2.0, 9.0  # class 9 is none that words can name
    evaluator.shards = [(one, replace(shard, logits=logits))]
    monkeypatch.setattr(Evaluator, "_captions", lambda *_: ["a dog barks", "rain falls", "rain falls"])
    assert evaluator.scores(torch.nn.Module())["tagged"] == pytest.approx(2 / 3)  # type: ignore[arg-type]
    assert evaluator.clips == {"tagged": {"street": [1.0, 0.0, 1.0]}}
    assert evaluator.captions["tagged"]["street"][0] == "a dog barks"


def test_many_clips_at_once_get_the_captions_that_each_gets_alone() -> None:
    torch.manual_seed(3)
    student = study_student(CachedFeatures(1024), "small", 30, 0.0).eval()
    for parameter in student.decoder.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3  # else all captions are one
    memory, length = torch.randn(6, 5, 1024), torch.tensor([5, 4, 1, 5, 2, 3])
    alone = [search(student, memory[row : row + 1], length[row : row + 1], beam=1)[0] for row in range(6)]
    together = greedy_captions(student, memory, length)
    assert [tuple(tokens) for tokens in together] == [one.tokens for one in alone]
    assert len({tuple(tokens) for tokens in together}) > 1


def test_data_made_of_something_else_are_refused(tmp_path: Path) -> None:
    same_arguments(tmp_path, {"held-out sets": ["a"], "full": 12})
    same_arguments(tmp_path, {"held-out sets": ["a"], "full": 12})
    with pytest.raises(ConfigError, match="made with other held-out sets; name another folder"):
        same_arguments(tmp_path, {"held-out sets": [], "full": 12})
    (tmp_path / "old" / "judged").mkdir(parents=True)
    with pytest.raises(ConfigError, match="by an earlier edgecap"):
        same_arguments(tmp_path / "old", {})


def test_every_row_runs_once_and_its_result_makes_the_table(
    prepared: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DRAWS > 100
    monkeypatch.setattr("edgecap_train.study.claims.DRAWS", 100)
    rows = rows_of(["sup-full", "con-scarce", "audio-full", "teacher-small"])
    for row in rows:
        for seed in SMALL.seeds:
            prepared.run(row, seed)
    results = read_results(prepared.runs / "results", SMALL)
    assert set(results.scores) == {row.key for row in rows}
    assert results.sets["recordings"] == {"AudioCaps": 2, "Clotho": 3}
    assert {name: array.shape for name, array in results.scores["sup-full"].items()} == {
        "judged": (2, 4),
        "recordings": (2, 5),
        "tagged": (2, 4),
    }
    clips = {str(run["row"]): run["clips"] for run in results.runs}
    assert set(clips.values()) == {SMALL.steps * SMALL.batch}, "every row has as many clips"
    losses = {str(run["row"]): set(run["loss"]) for run in results.runs}
    assert "sequence" not in losses["sup-full"]
    assert {"supervised", "sequence", "clip"} <= losses["con-scarce"]
    assert not list(prepared.folder.rglob("last.pt"))
    saved = json.loads(prepared.result(rows[0], 1).read_text())
    assert len(saved["captions"]["recordings"]["Clotho"]) == 3
    monkeypatch.setattr("edgecap_train.study.study.Trainer.run", lambda self: pytest.fail("ran again"))
    prepared.run(rows[0], 1)
    write_report(results, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert sum(line.endswith(" M |") and "| 2 |" in line for line in text.splitlines()) == len(rows)
    assert "Clotho 3" in text
    assert "| Clotho (3) |" in text
    assert "share of captions that name" in text
    assert (tmp_path / "results" / "study.png").read_bytes().startswith(b"\x89PNG")
    assert len(missing(results, ROWS)) == 2 * (len(ROWS) - len(rows))
    (tmp_path / "RESULTS.md").unlink()
    rewrite_report(tmp_path / "RESULTS.md")
    assert (tmp_path / "RESULTS.md").read_text() == text


def test_another_budget_has_results_of_its_own_and_more_seeds_have_not(prepared: Study) -> None:
    assert replace(prepared, recipe=replace(SMALL, steps=3)).runs != prepared.runs
    assert replace(prepared, recipe=replace(SMALL, seeds=[1, 2, 3])).runs == prepared.runs


def test_rows_ask_the_papers_questions_each_differing_in_what_it_says() -> None:
    rows = {row.key: row for row in ROWS}
    assert len(rows) == len(ROWS) == 13
    plain = rows["sup-full"]
    assert replace(plain, key="", title="", labelled="scarce") == replace(rows["sup-scarce"], key="", title="")
    assert replace(plain, key="", title="", encoder="teacher") == replace(rows["teacher-small"], key="", title="")
    assert replace(plain, key="", title="", decoder="large") == replace(rows["student-large"], key="", title="")
    contrastive = rows["con-full"]
    assert replace(contrastive, key="", title="", clip="mse") == replace(rows["mse-full"], key="", title="")
    assert replace(contrastive, key="", title="", audio_only=True) == replace(rows["audio-full"], key="", title="")


def test_rows_are_named_by_their_keys_and_learn_from_what_they_need() -> None:
    assert [row.key for row in rows_of(["con-scarce", "sup-full"])] == ["sup-full", "con-scarce"]
    assert len(rows_of([])) == len(ROWS)
    assert rows_of(["audio-scarce"])[0].learns_from == ("scarce", "audio_only")
    with pytest.raises(ConfigError, match="no row 'none'"):
        rows_of(["none"])


def test_the_recipe_that_is_here_reads_and_has_three_seeds() -> None:
    import edgecap_train

    made = read_document(Path(edgecap_train.__file__).parent / "recipes" / "study.toml", StudyRecipe)
    assert len(made.seeds) >= 3
