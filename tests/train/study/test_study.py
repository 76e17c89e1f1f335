"""The study: true captions of trusted clips, data made once, rows that differ in what they say, a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.bundle.vocabulary import SPECIALS
from edgecap.errors import ResultError, TrainingDataError
from edgecap.util.progress import no_progress
from edgecap_train.data.pool import Pool, PoolClip
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.study.data import KINDS, StudySources, prepare_study, scene_maker, trusted_clips
from edgecap_train.study.models import split_yamnet
from edgecap_train.study.report import difference, interval, missing, read_results, table, verdict, write_report
from edgecap_train.study.study import ROWS, Study, StudyRecipe
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.text import label_templates as trusted
from edgecap_train.training.recipe import read_document

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
    recording = folder / "recording.wav"
    import soundfile

    soundfile.write(recording, np.random.default_rng(1).standard_normal(32_000) * 0.1, 16_000)
    words = sorted(
        {
            word
            for sound in trusted.SOUNDS.values()
            for words in (*trusted.one(sound), *trusted.after(sound, sound), *trusted.together(sound, sound))
            for word in words
        }
    )
    (folder / "vocabulary.json").write_text(json.dumps([*SPECIALS, *words]))
    sources = StudySources(pool(), Tagger().eval(), lambda scores: [("a", "dog", "barks")], split_yamnet(None)[0])
    sizes = {kind: int(getattr(SMALL, kind)) for kind in KINDS}
    labels: list[str] = []
    references = [Reference(recording, "AudioCaps", ("a dog barks",) * 5)] * 2
    prepare_study(sources, folder, sizes, references, 1, progress=lambda done, total, label="": labels.append(label))
    assert set(labels) == {*KINDS, "recordings"}
    return Study(folder, SMALL, None)


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


def test_a_shard_that_is_there_is_not_made_again(prepared: Study) -> None:
    before = {path: path.stat().st_mtime_ns for path in prepared.folder.rglob("*.npy")}
    assert before

    def refuse(scores: np.ndarray) -> list[tuple[str, ...]]:
        raise AssertionError("asked again")

    sources = StudySources(pool(), Tagger().eval(), refuse, split_yamnet(None)[0])
    sizes = {kind: int(getattr(SMALL, kind)) for kind in KINDS}
    prepare_study(sources, prepared.folder, sizes, [], 1, progress=no_progress)
    assert {path: path.stat().st_mtime_ns for path in prepared.folder.rglob("*.npy")} == before


def test_every_row_runs_once_and_its_result_makes_the_table(
    prepared: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecap_train.study.report.DRAWS", 100)
    rows = [row for row in ROWS if row.key in ("sup-full", "con-scarce", "audio-full", "teacher-small")]
    for row in rows:
        for seed in SMALL.seeds:
            prepared.run(row, seed)
    results = read_results(prepared.runs / "results")
    assert set(results.scores) == {row.key for row in rows}
    assert results.scores["sup-full"]["judged"].shape == (2, 4)
    assert results.scores["sup-full"]["recordings"].shape == (2, 2)
    clips = {str(run["row"]): run["clips"] for run in results.runs}
    assert set(clips.values()) == {SMALL.steps * SMALL.batch}, "every row has as many clips"
    losses = {str(run["row"]): set(run["loss"]) for run in results.runs}  # type: ignore[call-overload]
    assert "sequence" not in losses["sup-full"]
    assert {"supervised", "sequence", "clip"} <= losses["con-scarce"]
    assert not list(prepared.folder.rglob("last.pt"))
    monkeypatch.setattr("edgecap_train.study.study.Trainer.run", lambda self: pytest.fail("ran again"))
    prepared.run(rows[0], 1)
    write_report(results, SMALL, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert text.count("| 2 |") == len(rows)
    assert "results/study.png" in text
    assert (tmp_path / "results" / "study.png").read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((tmp_path / "results" / "study.json").read_text())["cider_d"]) == set(results.scores)
    assert len(missing(results, SMALL.seeds)) == 2 * (len(ROWS) - len(rows))


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


def test_an_interval_grows_with_what_seeds_and_clips_disagree_about() -> None:
    rng = np.random.default_rng(0)
    same = interval(np.full((3, 50), 0.5))
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    clips = interval(np.tile(rng.random(50), (3, 1)))
    seeds = interval(np.tile(rng.random((3, 1)), (1, 50)))
    assert clips.low < clips.mean < clips.high
    assert seeds.low < seeds.mean < seeds.high
    assert str(same) == "0.50 [0.50, 0.50]"


def test_a_claim_holds_fails_or_stays_open_by_the_difference_clip_by_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecap_train.study.report.DRAWS", 400)
    hard = np.random.default_rng(0).random(40)
    for key, gain in (("seq-full", 0.1), ("sup-full", 0.0), ("mse-full", -0.1)):
        for seed in (1, 2, 3):
            scores = (hard + gain + 0.01 * seed).tolist()
            (tmp_path / f"{key}-{seed}.json").write_text(
                json.dumps(
                    {
                        "row": key,
                        "seed": seed,
                        "seconds": 1.0,
                        "parameters": 1,
                        "clips": 1,
                        "steps": 1,
                        "cider_d": {"judged": scores, "recordings": scores},
                    }
                )
            )
    results = read_results(tmp_path)
    assert verdict(difference(results, "seq-full", "sup-full", "judged")) == "holds"
    assert verdict(difference(results, "mse-full", "seq-full", "judged")) == "does not hold"
    assert verdict(difference(results, "sup-full", "sup-full", "judged")) == "undecided"
    assert verdict(difference(results, "con-full", "seq-full", "judged")) == "not run"
    with pytest.raises(ResultError, match="no run"):
        write_report(read_results(tmp_path / "none"), SMALL, tmp_path / "RESULTS.md")
    lines = table(results)
    assert len(lines) == 2 + 3
    assert "(both small)" in "\n".join(lines)


def test_the_recipe_that_is_here_reads_and_has_three_seeds() -> None:
    import edgecap_train

    made = read_document(Path(edgecap_train.__file__).parent / "recipes" / "study.toml", StudyRecipe)
    assert len(made.seeds) >= 3
