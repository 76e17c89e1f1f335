"""The bank's making and the measurement of taught sounds, on small pools whose answers are known."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.sounds.bank import read_bank, unit
from edgecap_bench.sounds.make_bank import is_free, whitening
from edgecap_bench.sounds.make_bank import main as make_bank
from edgecap_bench.sounds.pool import LicensedClip, packed_windows, read_pool
from edgecap_bench.sounds.recall import EmbeddedSound, RecallMeasurement, RecallTask, class_of
from edgecap_bench.sounds.recall import main as measure_recall
from edgecap_bench.sounds.related import SIGNALS, WORDS, related
from edgecap_bench.sounds.renders import among, recorded_again
from support.teaching.taught_sounds import RATE, WIDTH, chime, plain_bank, rasp, shipped_captioner

HEAD = "file,set,label,duration_s,license,source,source_path\n"


def clip(name: str, *, of: str = "beds", label: str = "noise", licence: str = "CC0", origin: str = "") -> LicensedClip:
    return LicensedClip(Path(name), of, label, licence, "the test", origin or name)


def pool(folder: Path, clips: Sequence[tuple[LicensedClip, np.ndarray]]) -> Path:
    """A folder of sounds with its manifest."""
    folder.mkdir()
    rows = []
    for one, samples in clips:
        soundfile.write(folder / one.path.name, samples, RATE)
        rows.append(f"{one.path.name},{one.set},{one.label},1,{one.licence},{one.source},{one.origin}\n")
    (folder / "manifest.csv").write_text(HEAD + "".join(rows))
    return folder


def noises(count: int, seconds: float = 20.0, **more: str) -> list[tuple[LicensedClip, np.ndarray]]:
    """Noise in bands of its own for each clip."""
    random, clips = np.random.default_rng(1), []
    for number in range(count):
        spectrum = np.fft.rfft(random.normal(0.0, 0.1, round(seconds * RATE)))
        spectrum *= np.exp(-(((np.arange(spectrum.size) / spectrum.size - random.uniform()) / 0.1) ** 2))
        clips.append((clip(f"noise{number}.wav", **more), np.fft.irfft(spectrum).astype(np.float32)))
    return clips


def test_clips_are_packed_without_gap_and_each_window_knows_its_own(tmp_path: Path) -> None:
    ramp = np.arange(60_000, dtype=np.float32) / 100_000
    folder = pool(tmp_path / "pool", [(clip("a.wav"), ramp[:25_000]), (clip("b.wav"), ramp[25_000:])])
    first, second = sorted(read_pool([folder]), key=lambda one: one.path)
    windows = list(packed_windows([first, second], RATE, 20_000))
    assert [[one.path.name for one in window.clips] for window in windows] == [["a.wav"], ["a.wav", "b.wav"], ["b.wav"]]
    joined = np.concatenate([window.samples for window in windows])
    assert np.abs(joined - ramp).max() < 1e-4
    assert [one.path for one in read_pool([folder], 1)] == [one.path for one in read_pool([folder], 1)]


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        *(("CC0", True), ("CC BY 4.0", True), ("GPL-2+", True), ("public domain", True)),
        *(("CC BY-NC 4.0", False), ("CC0 or CC BY-NC", False), ("none stated", False), ("Freesound", False)),
    ],
)
def test_only_what_any_use_is_allowed_of_is_in_a_bank(licence: str, free: bool) -> None:
    assert is_free(clip("a.wav", licence=licence)) is free


def test_whitening_makes_the_principal_directions_alike() -> None:
    random = np.random.default_rng(0)
    frames = (random.normal(size=(4_000, 80)) * np.geomspace(10.0, 0.1, 80) + 3.0).astype(np.float32)
    mean, projection = whitening(frames)
    projected = (frames - mean) @ projection
    assert np.abs(projected.mean(axis=0)).max() < 0.05
    deviations = projected.std(axis=0)
    assert deviations[:3].min() > 0.9
    assert deviations[:3].max() < 1.1
    assert deviations.max() < 1.1  # what is rare is not blown up


def test_a_sound_recorded_again_is_as_far_above_its_background_as_said() -> None:
    random, ring = np.random.default_rng(0), chime(1)
    background = np.random.default_rng(1).normal(0.0, 0.05, 10 * RATE).astype(np.float32)
    renders = [recorded_again(ring, background, RATE, random) for _ in range(8)]
    for render in renders:
        assert render.size == 10 * RATE
        assert np.abs(render).max() <= 1.0
        levels = np.square(render.reshape(-1, RATE // 10)).mean(axis=1)
        assert 3.0 < 10 * np.log10(np.sort(levels)[-5:].mean() / np.median(levels)) < 30.0
    assert len({round(float(np.square(render).mean()), 9) for render in renders}) == len(renders)


def test_a_sound_among_others_is_twelve_decibels_above_what_lies_below_it() -> None:
    ring, background = chime(1), np.random.default_rng(1).normal(0.0, 0.05, 4 * RATE).astype(np.float32)
    mixed = among(ring, background, RATE, np.random.default_rng(2))
    place = int(np.argmax(np.convolve(np.square(mixed), np.ones(ring.size), "valid")))
    power = (
        np.square(mixed[place : place + ring.size]).mean()
        / np.square(np.delete(mixed, np.s_[place : place + ring.size])).mean()
    )
    assert (mixed.size, round(10 * np.log10(power - 1))) == (10 * RATE, 12)


def test_sounds_that_share_a_word_with_a_class_are_not_unrelated() -> None:
    assert related("church_bells", ["a Bell tower"])
    assert related("crying_baby", ["infant at home"])
    assert related("unknown_class", ["an unknown class of sound"])
    assert not related("dog", ["rain on a roof", "cat"])
    assert WORDS.keys() >= SIGNALS


def test_only_what_is_held_out_has_a_class() -> None:
    held_out = clip("door-wood-knock-5-1234-A.opus", of="esc50", origin="5-1234-A.wav fold=5")
    assert class_of(held_out) == "door_wood_knock"
    assert class_of(clip("dog-4-1234-A.opus", of="esc50", origin="4-1234-A.wav fold=4")) == ""
    assert class_of(clip("x.opus", of="kitchen20", label="ESC 12345-7")) == "kitchen 7"
    assert class_of(clip("x.opus", of="other", label="12345-7")) == ""


def sounds_like(direction: int, count: int, spread: float, labels: tuple[str, ...] = ()) -> list[EmbeddedSound]:
    random = np.random.default_rng(direction)
    centre = np.eye(WIDTH, dtype=np.float32)[direction]
    frames = [unit(centre + spread * random.normal(size=(10, WIDTH)).astype(np.float32)) for _ in range(count)]
    return [EmbeddedSound(each, unit(each.mean(axis=0)), labels) for each in frames]


def test_recall_is_counted_at_one_false_alarm_an_hour_of_what_is_unrelated() -> None:
    unrelated = [
        window
        for direction in range(1, WIDTH)
        for window in sounds_like(direction, 500, 0.1, ("bell",) if direction == 1 else ("rain",))
    ]
    measurement = RecallMeasurement(plain_bank(), unrelated)
    assert measurement.hours == pytest.approx(3_500 * 10 * 0.32 / 3_600)
    examples, hits = tuple(sounds_like(0, 3, 0.05)), tuple(sounds_like(0, 6, 0.05))
    wrong = tuple(sounds_like(2, 2, 0.1))
    row = measurement.row("all there", [RecallTask("dog", examples, hits)]).split()
    assert (row[-5], row[-4], row[-1]) == ("1", "100.0%", "100.0%")
    row = measurement.row("some", [RecallTask("dog", examples, hits + wrong)]).split()
    assert (row[-4], row[-1]) == ("75.0%", "75.0%")
    same = tuple(sounds_like(1, 5, 0.1))  # these lie among windows whose label has the class's word, which do not count
    assert measurement.row("related", [RecallTask("church_bells", same, same)]).split()[-4] == "100.0%"


def test_a_bank_is_made_and_recall_measured_on_a_small_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped_captioner()
    free = pool(tmp_path / "free", [*noises(12), (clip("nc.wav", licence="CC BY-NC 4.0"), rasp())])
    make_bank([free], windows=20, output=tmp_path)
    (path,) = tmp_path.glob("*.bank")
    bank = read_bank(path)
    assert (bank.windows.shape[0], bank.model) == (20, json.loads(path.with_suffix(".json").read_text())["sha256"])
    assert {entry["licence"] for entry in bank.sets} == {"CC0"}
    assert np.linalg.norm(bank.segments(5), axis=-1).min() > 0.99

    rings = [
        (clip(f"church-bells-5-{1_000 + n}-A.wav", of="esc50", origin=f"5-{1_000 + n}-A.wav fold=5"), chime(n))
        for n in range(8)
    ]
    tested = pool(tmp_path / "tested", [*rings, *noises(20, licence="CC BY-NC 4.0")])
    capsys.readouterr()
    measure_recall([tested], hours=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("0.1 h of unrelated sound, of 20 clips")
    rows = {line[:44].strip(): line[44:].split() for line in lines[2:-1]}
    assert [*rows] == [
        *("esc50 alone, 1 example(s)", "esc50 alone, 5 example(s)"),
        *("esc50 in other sound, 1 example(s)", "esc50 in other sound, 5 example(s)"),
        *("signals recorded again, 1 example(s)", "signals recorded again, 5 example(s)"),
    ]
    assert re.fullmatch(r"teaching 5 sounds: \d+\.\d\d s; matching 50 in a window: \d+\.\d\d ms", lines[-1])
    assert rows["esc50 alone, 5 example(s)"][:2] == ["3", "100.0%"]
