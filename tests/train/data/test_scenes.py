"""Scenes composed out of a pool, with sounds made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.errors import AudioError, TableError
from edgecap_train.data.pool import SAMPLE_RATE, Pool, decode_pool
from edgecap_train.data.scenes import Scene, SceneConfig, SceneMaker, _over_bed, to_student_rate
from edgecap_train.text.captions import LabelledCaption

CLASSES = ["Tone", "Noise burst", "Silence"]
KINDS = ("noise_only", "concatenated", "recordings", "shortened", "ambience", "bed", "hiss", "reverb", "band_limit")
PLAIN = dict.fromkeys(KINDS, 0.0)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    time = np.arange(22_050) / 22_050
    soundfile.write(folder / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time), 22_050)
    soundfile.write(folder / "burst.flac", 0.1 * rng.standard_normal((8_000, 2)), 16_000)
    (folder / "broken.ogg").write_text("not a sound")
    rows = "\n".join(f"{name},made,x" for name in ("tone.wav", "burst.flac", "broken.ogg"))
    (folder / "manifest.csv").write_text("file,set,label\n" + rows + "\n")
    return decode_pool(folder, folder / "cache")


def maker(pool: Pool, seed: int = 1, **options: float) -> SceneMaker:
    scores = np.array([[0.9, 0.0, 0.0], [0.0, 0.8, 0.0]], np.float32)
    captions = [
        LabelledCaption("a", ("a", "tone", "then", "a", "burst"), ("Tone", "Noise burst")),
        LabelledCaption("b", ("an", "unheard", "bird"), ("Bird",)),
    ]
    config = SceneConfig(**{**PLAIN, **options})  # type: ignore[arg-type]
    return SceneMaker(pool, scores, CLASSES, captions, config, seed)


def test_an_unreadable_clip_is_skipped_and_a_pool_of_nothing_else_is_refused(
    pool: Pool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [clip.file for clip in pool.clips] == ["tone.wav", "burst.flac"]
    (tmp_path / "broken.ogg").write_text("not a sound")
    (tmp_path / "manifest.csv").write_text("file,set,label\nbroken.ogg,made,x\n")
    with pytest.raises(AudioError, match="no clip"):
        decode_pool(tmp_path, tmp_path / "cache")
    assert "broken.ogg" in caplog.text


def test_clips_are_decoded_to_mono_at_the_pool_rate(pool: Pool) -> None:
    assert [clip.length for clip in pool.clips] == pytest.approx([SAMPLE_RATE, SAMPLE_RATE // 2], abs=2)
    tone = pool.read(0)
    peak = int(np.argmax(np.abs(np.fft.rfft(tone)))) * SAMPLE_RATE / tone.size
    assert peak == pytest.approx(440, abs=1)


def test_a_pool_without_a_manifest_or_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="manifest"):
        decode_pool(tmp_path, tmp_path / "cache")
    (tmp_path / "manifest.csv").write_text("name\nx\n")
    with pytest.raises(TableError, match="'file'"):
        decode_pool(tmp_path, tmp_path / "cache")


def test_the_same_seed_draws_the_same_scenes(pool: Pool) -> None:
    first, second = maker(pool, 5), maker(pool, 5)
    for _ in range(5):
        np.testing.assert_array_equal(first.draw().samples, second.draw().samples)


def test_scenes_are_ten_finite_seconds_within_full_scale(pool: Pool) -> None:
    drawn = maker(pool, ambience=1.0, hiss=1.0, reverb=1.0, band_limit=1.0)
    for _ in range(5):
        samples = drawn.draw().samples
        assert samples.size == 10 * SAMPLE_RATE
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 1.0


def test_a_scene_for_a_caption_names_it_and_one_that_cannot_be_made_is_never_drawn(pool: Pool) -> None:
    drawn = maker(pool, from_caption=1.0)
    assert {drawn.draw().caption for _ in range(10)} == {0}


def test_one_clip_stands_for_all_labels_that_are_heard_in_it(pool: Pool) -> None:
    scores = np.array([[0.9, 0.7, 0.0], [0.0, 0.8, 0.0]], np.float32)  # the tone is a noise burst, too
    captions = [LabelledCaption("a", ("a", "tone", "and", "a", "burst"), ("Noise burst", "Tone"))]
    drawn = SceneMaker(pool, scores, CLASSES, captions, SceneConfig(**PLAIN), 1)  # type: ignore[arg-type]
    drawings = [drawn._caption_events()[1] for _ in range(20)]
    assert all(events == [0] for events in drawings)
    apart = maker(pool)
    assert all(sorted(apart._caption_events()[1]) == [0, 1] for _ in range(20))


def test_named_sets_count_as_recorded_where_the_sound_was(pool: Pool) -> None:
    scores = np.eye(2, 3, dtype=np.float32)
    captions = [LabelledCaption("a", ("a", "tone"), ("Tone",))]
    config = SceneConfig(**{**PLAIN, "bed": 1.0, "recordings": 0.0})  # type: ignore[arg-type]
    without, named = (
        SceneMaker(pool, scores, CLASSES, captions, config, 1, frozenset(sets)) for sets in ((), ("made",))
    )
    assert (without._wild.size, named._wild.size) == (0, 2)
    assert not np.array_equal(without.draw().samples, named.draw().samples)


def test_a_concatenation_keeps_its_two_parts(pool: Pool) -> None:
    scene: Scene = maker(pool, concatenated=1.0).draw()
    assert scene.parts is not None
    np.testing.assert_array_equal(np.concatenate(scene.parts), scene.samples)


def test_everyday_sounds_are_drawn_from_our_own_sentences(pool: Pool) -> None:
    scores = np.array([[0.9, 0.0], [0.0, 0.9]], np.float32)
    config = SceneConfig(**{**PLAIN, "from_caption": 0.0, "everyday": 1.0})  # type: ignore[arg-type]
    captions = [LabelledCaption("a", ("a", "dog", "barks"), ("Dog",))]
    drawn = SceneMaker(pool, scores, ["Dog", "Theremin"], captions, config, 1)
    tone = np.abs(np.fft.rfft(drawn.draw().samples))
    peak = int(np.argmax(tone)) / 10  # hertz: ten seconds; the class "Dog" stands for the tone of 440 Hz here
    assert 430 < peak < 450


def test_some_scenes_are_cut_short(pool: Pool) -> None:
    lengths = {maker(pool, seed, shortened=1.0, from_caption=1.0).draw().samples.size for seed in range(4)}
    assert max(lengths) < 10 * SAMPLE_RATE
    assert min(lengths) >= 2 * SAMPLE_RATE


def test_a_recording_is_a_stretch_of_one_clip_as_it_is(pool: Pool) -> None:
    (tone,) = (index for index, clip in enumerate(pool.clips) if clip.file == "tone.wav")
    drawn = maker(pool, recordings=1.0)
    scenes = [drawn.draw() for _ in range(20)]
    assert {scene.samples.size for scene in scenes} == {
        clip.length for clip in pool.clips
    }  # nothing repeated or padded
    longest = max((scene.samples for scene in scenes), key=len)
    clip = pool.read(tone)
    assert abs(float(np.corrcoef(longest, clip)[0, 1])) > 0.999
    assert all(scene.caption == -1 and scene.parts is None for scene in scenes)


def test_a_bed_lies_as_far_below_the_events_as_was_drawn() -> None:
    rng = np.random.default_rng(0)
    events, bed = rng.standard_normal(32_000).astype(np.float32), np.ones(32_000, np.float32)
    added = _over_bed(events, bed, 10.0) - events
    ratio = 10 * np.log10(np.mean(events**2) / np.mean(added**2))
    assert ratio == pytest.approx(10.0, abs=0.01)


def test_the_student_gets_half_the_rate(pool: Pool) -> None:
    assert to_student_rate(maker(pool).draw().samples, 16_000).size == 160_000


def test_an_opened_pool_is_not_decoded_again(pool: Pool, tmp_path: Path) -> None:
    entries = [vars(clip) for clip in pool.clips]
    (tmp_path / "pool.json").write_text(json.dumps(entries))
    (tmp_path / "pool.s16").write_bytes(np.asarray(pool.samples).tobytes())
    again = decode_pool(tmp_path / "nowhere", tmp_path)
    assert again.clips == pool.clips
