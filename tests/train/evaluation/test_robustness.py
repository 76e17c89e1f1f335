"""`edgecap robustness`: what each degradation does to sound, what is counted of captions, and the command itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.audio.frontend import FrontEnd
from edgecap.cli import run
from edgecap.types import Waveform
from edgecap.util.progress import no_progress
from edgecap_train.evaluation.conditions import CONDITIONS, Condition
from edgecap_train.evaluation.metrics import METRICS, Clips
from edgecap_train.evaluation.robustness import evaluate_robustness
from edgecap_train.evaluation.tag_agreement import average_precision, tag_agreement
from edgecap_train.text.captioned_files import CaptionedFile
from edgecap_train.text.main_source import agreed_sources, invented_sources
from support.signals import noise, tone

RATE = 16_000
BY_NAME = {condition.name: condition for condition in CONDITIONS}
SHARED = os.environ.get("EDGECAP_SHARED")


def degraded(name: str, samples: Waveform) -> Waveform:
    return BY_NAME[name].degrade(samples, RATE, np.random.default_rng(0))


def power(samples: Waveform, low: float, high: float) -> float:
    """Energy between two frequencies."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(samples.size, 1 / RATE)
    return float(spectrum[(hertz >= low) & (hertz < high)].sum())


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_a_degraded_recording_is_finite_the_same_each_time_and_no_longer(condition: Condition) -> None:
    samples = noise(4.0)
    first, again = (condition.degrade(samples, RATE, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.size == condition.plain(samples, RATE).size or condition.name == "first-2s"


def test_a_telephone_passes_its_band_alone() -> None:
    samples = noise(4.0)
    heard = degraded("telephone", samples)
    assert power(heard, 500, 3_000) > 0.5 * power(samples, 500, 3_000)
    assert power(heard, 4_200, 8_000) < 0.01 * power(samples, 4_200, 8_000)
    assert power(heard, 0, 150) < 0.05 * power(samples, 0, 150)


@pytest.mark.parametrize(("name", "decibels"), [("pink-10dB", 10.0), ("pink-0dB", 0.0)])
def test_noise_has_the_stated_distance_and_falls_by_3_db_an_octave(name: str, decibels: float) -> None:
    samples = tone(8.0, RATE)
    added = degraded(name, samples) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(added**2)) == pytest.approx(decibels, abs=0.01)
    assert power(added, 200, 400) == pytest.approx(power(added, 2_000, 4_000), rel=0.2)


def test_a_quieter_recording_is_one_of_16_bits() -> None:
    heard = degraded("gain-40dB", tone(1.0, RATE))
    np.testing.assert_allclose(heard * 32_767, np.round(heard * 32_767), atol=1e-3)
    assert np.abs(heard).max() == pytest.approx(np.abs(tone(1.0, RATE)).max() / 100, abs=2e-5)


def test_reverberation_keeps_the_level_and_lengthens_a_click() -> None:
    click = np.zeros(RATE, np.float32)
    click[1_000] = 0.5
    heard = degraded("reverberation-0.5s", click)
    assert np.linalg.norm(heard) == pytest.approx(0.5, rel=1e-4)
    decays = [float(np.sum(heard[start : start + 800] ** 2)) for start in (1_001, 5_000, 8_500)]
    assert decays[0] > 10 * decays[1] > 100 * decays[2] > 0


def test_a_shifted_window_is_compared_with_one_as_long() -> None:
    samples = np.arange(10 * RATE, dtype=np.float32)
    shift = BY_NAME["shift-2s"]
    assert degraded("shift-2s", samples)[0] == 2 * RATE
    assert shift.plain(samples, RATE)[-1] == 8 * RATE - 1
    assert degraded("first-2s", samples).size == 2 * RATE


def test_sources_are_agreed_by_three_of_five_and_invented_where_nobody_names_them() -> None:
    references = ["a dog barks and a man speaks", "a dog barks", "a man talks", "dog and speech", "it rains"]
    assert agreed_sources(references) == {"dog", "speech"}
    assert agreed_sources(["a train passes"]) == {"train"}
    assert invented_sources("a cat meows while a dog barks in the rain", references) == {"cat"}


def test_shares_of_sources_count_only_the_clips_that_have_them() -> None:
    clips = Clips(
        ["a dog barks while a man speaks", "a dog barks", "a cat meows"],
        [["a dog barks and a man speaks"], ["a dog barks as it rains"], ["a bird chirps"]],
    )
    scores = {spec.name: clips.metric(spec) for spec in METRICS if spec.name in {"second_source", "invented_sources"}}
    assert scores["second_source"].mean == 0.5  # of the two clips with two sources
    assert scores["second_source"].clips == (1.0, 0.0, 0.0)
    assert scores["invented_sources"].mean == 0.25  # the cat, of four sources
    assert scores["invented_sources"].low == 0.0


class Loudness:
    """A model that says how loud a sound is."""

    name = "loudness"
    front_end = FrontEnd()

    def caption(self, samples: Waveform, beam: int | None) -> str:
        """Above -20 dBFS "a loud dog barks"."""
        del beam
        return "a loud dog barks" if np.mean(samples**2) > 0.01 else "rain"

    def embedding(self, samples: Waveform) -> Waveform:
        """Level and brightness."""
        change = float(np.mean(np.abs(np.diff(samples))))
        return np.array([np.log(np.mean(samples**2) + 1e-9), np.log(change + 1e-9)], np.float32)


def test_each_source_is_scored_alone_and_changed_captions_are_counted() -> None:
    references = [
        CaptionedFile(Path(f"{number}.wav"), group, ("a loud dog barks", "a dog barks"), split=split)
        for number, (group, split) in enumerate([("A", "one"), ("A", "one"), ("A", "two"), ("A", "two"), ("B", "")])
    ]
    sounds = [noise(2.0, level=0.3) if number != 2 else noise(2.0, level=0.01) for number in range(5)]
    calls: list[tuple[float, float | None]] = []
    sides, conditions = evaluate_robustness(
        Loudness(),
        references,
        sounds,
        beam=None,
        progress=lambda done, total, _label="": calls.append((done, total)),
        conditions=(BY_NAME["gain-20dB"], BY_NAME["mp3-32k"]),
    )
    assert [(side.name, side.clips) for side in sides] == [("A one", 2), ("A two", 2)]  # B has too few for CIDEr-D
    assert [side.scores["main_source"].mean for side in sides] == [1.0, 0.5]
    assert [(one.condition, one.changed) for one in conditions] == [("gain-20dB", 0.8), ("mp3-32k", 0.0)]
    assert calls[-1] == (15, 15)


def test_average_precision_is_the_mean_of_the_precision_at_each_positive() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(scores, np.array([True, False, True, False])) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, np.array([False, False, False, True])) == 0.25


def test_the_command_prints_sources_and_conditions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, noise(3.0), RATE)
    (tmp_path / "dev.csv").write_text("file,dataset,split,caption_1\na.wav,A,val,rain falls\nb.wav,A,val,wind blows\n")
    assert run(["robustness", "tiny", "--data", str(tmp_path / "dev.csv"), "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert [side["name"] for side in report["sides"]] == ["A val"]
    assert [one["condition"] for one in report["conditions"]] == [condition.name for condition in CONDITIONS]
    assert report["mean_of_sides"] == report["sides"][0]["scores"]["cider_d"]["mean"]
    assert run(["robustness", "tiny", "--data", str(tmp_path / "dev.csv"), "--pool", str(tmp_path)]) == 2
    assert "--held-out" in capfd.readouterr().err


@pytest.mark.skipif(SHARED is None, reason="needs the tagger of EDGECAP_SHARED")
def test_captions_and_embeddings_are_held_against_the_tagger(tmp_path: Path) -> None:
    rows = ["file,set,label"]
    for number in range(24):
        name = f"{number}.wav"
        soundfile.write(tmp_path / name, noise(2.0, seed=number) if number % 2 else tone(2.0, RATE), RATE)
        rows.append(f"{name},{'kept' if number < 12 else 'out'},x")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    result = tag_agreement(
        Loudness(), [tmp_path], ["out"], Path(SHARED or "") / "models" / "efficientat", beam=None, progress=no_progress
    )
    (out,) = result.sets
    assert (out.name, out.clips, result.probe.learnt_from) == ("out", 12, 12)
    assert 0.0 <= out.top_1 <= out.top_3 <= 1.0
    assert result.probe.classes > 0
    assert result.probe.mean_average_precision > 0.9  # level and brightness tell noise from a tone
