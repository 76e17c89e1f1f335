"""From samples or a file to captions, through the API."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import ArrayLike

from edgecap import AudioError, Caption, Captioner
from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import load_bundle, write_bundle
from edgecap.inference.decoding import beam_search
from edgecap.inference.session import open_session
from edgecap.types import Waveform
from support.signals import RATE, noise, tone
from support.tiny_model import random_weights, tiny_contents, tiny_manifest


def test_a_caption_says_what_when_how_sure_and_how_loud(captioner: Captioner) -> None:
    caption = captioner.caption(noise(10), RATE)
    assert caption.text
    assert (caption.start, caption.end, caption.silent) == (0.0, 10.0, False)
    assert caption.level_dbfs == pytest.approx(-20, abs=1)
    assert len(caption.beams) == 3
    assert (caption.text, caption.score) == (caption.beams[0].text, caption.beams[0].score)
    assert [beam.score for beam in caption.beams] == sorted((beam.score for beam in caption.beams), reverse=True)
    with pytest.raises(FrozenInstanceError):
        caption.text = "something else"  # type: ignore[misc]


def test_another_sound_gets_another_caption(captioner: Captioner) -> None:
    assert captioner.caption(noise(5), RATE).text != captioner.caption(tone(5), RATE).text


def test_a_short_clip_is_framed_by_itself_and_padded_with_the_front_ends_silence(
    captioner: Captioner, tiny_folder: Path
) -> None:
    # The clip's loudest frame is far above its quietest: floored together with padding, the floor would differ.
    samples = np.concatenate([tone(2, level=0.9), noise(2, level=1e-7)])
    bundle = load_bundle(tiny_folder)
    session, manifest = open_session(bundle, 1), bundle.manifest
    frames = log_mel(samples, manifest.front_end)
    window = np.full((64, 1001), -100.0, np.float32)
    window[:, : frames.shape[1]] = frames
    encoded = session.encode(window, frames.shape[1] // 32)
    expected = beam_search(session.decoder(encoded, 3), beam=3, max_tokens=20, start=1, end=2)
    caption = captioner.caption(samples, RATE)
    assert [beam.tokens for beam in caption.beams] == [hypothesis.tokens for hypothesis in expected[:3]]
    assert encoded.memory_length == 12


def test_a_wider_beam_gives_more_hypotheses_and_one_is_greedy(captioner: Captioner, tiny_folder: Path) -> None:
    samples, session = noise(10), open_session(load_bundle(tiny_folder), 1)
    decode = session.decoder(session.encode(log_mel(samples, captioner.manifest.front_end), 31), 1)
    tokens = [1]
    while tokens[-1] != 2 and len(tokens) <= 20:
        log_probs = decode(np.array(tokens[-1:]), len(tokens) - 1, np.array([0]))
        tokens.append(int(log_probs[0].argmax()))
    (greedy,) = captioner.caption(samples, RATE, beam=1).beams
    assert greedy.tokens == tuple(tokens[1:])
    beams = captioner.caption(samples, RATE, beam=5).beams
    assert len({beam.tokens for beam in beams}) == 5
    assert beams[0].score >= greedy.score


@pytest.mark.parametrize("beam", [0, -1, 33])
def test_a_beam_size_out_of_range_is_refused(captioner: Captioner, beam: int) -> None:
    with pytest.raises(ValueError, match="beam size"):
        captioner.caption(noise(5), RATE, beam=beam)


@pytest.mark.parametrize(
    "form",
    [
        lambda samples: (samples * 32767).astype(np.int16),
        lambda samples: (samples * (2**31 - 1)).astype(np.int32),
        lambda samples: samples.astype(np.float64),
        lambda samples: np.stack([samples, samples], axis=1),
        lambda samples: np.stack([samples] * 8, axis=1),
        lambda samples: samples.tolist(),
    ],
)
def test_the_same_sound_in_another_form_gets_the_same_caption(
    captioner: Captioner, form: Callable[[Waveform], ArrayLike]
) -> None:
    samples = noise(3)
    assert captioner.caption(form(samples), RATE).text == captioner.caption(samples, RATE).text


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_other_sample_rates_are_resampled_and_keep_their_times(captioner: Captioner, rate: int) -> None:
    caption = captioner.caption(tone(3.3333, rate), rate)
    assert caption.end == pytest.approx(3.3333, abs=1 / rate)
    assert caption.text == captioner.caption(tone(3.3333), RATE).text


@pytest.mark.parametrize("size", [1, 100, 800, 4959, 4960])
def test_a_very_short_sound_is_padded_and_captioned(captioner: Captioner, size: int) -> None:
    caption = captioner.caption(noise(1)[:size], RATE)
    assert caption.end == size / RATE
    assert caption.beams or caption.silent
    assert np.isfinite(caption.score or 0.0)


def test_the_shortest_sound_is_one_memory_frame(captioner: Captioner) -> None:
    assert captioner.shortest == 4960 / RATE
    assert captioner.window == 10.0


def test_more_than_the_window_holds_is_refused_with_the_way_out(captioner: Captioner) -> None:
    captioner.caption(noise(10.005), RATE)
    with pytest.raises(AudioError, match=r"10\.50 s.*caption_windows"):
        captioner.caption(noise(10.5), RATE)


def test_silence_is_captioned_as_silence_without_asking_the_model(captioner: Captioner) -> None:
    for samples in (np.zeros(RATE * 5, np.float32), np.full(RATE * 5, 0.1, np.float32), noise(5, level=1e-4)):
        caption = captioner.caption(samples, RATE)
        assert (caption.text, caption.score, caption.silent, caption.beams) == ("silence", None, True, ())
    assert not captioner.caption(noise(5, level=1e-3), RATE).silent


def test_the_silence_threshold_and_caption_are_the_models_own(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    deaf = replace(manifest, silence=replace(manifest.silence, threshold_dbfs=-10.0, caption="nothing much"))
    folder = write_bundle(tmp_path / "deaf", deaf, tiny_contents(random_weights(6))).folder
    assert Captioner.load(folder, threads=1).caption(noise(5), RATE).text == "nothing much"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(captioner: Captioner, value: float) -> None:
    samples = noise(2)
    samples[7] = value
    with pytest.raises(AudioError, match="sample 7 of channel 1"):
        captioner.caption(samples, RATE)
    with pytest.raises(AudioError, match="sample 7 of channel 1"):
        list(captioner.caption_windows(samples, RATE))


def test_no_samples_are_refused(captioner: Captioner) -> None:
    with pytest.raises(AudioError, match="no samples"):
        captioner.caption([], RATE)


def spans(captions: list[Caption]) -> list[tuple[float, float]]:
    return [(caption.start, caption.end) for caption in captions]


def test_a_long_file_is_walked_window_by_window(captioner: Captioner, sounds: Path) -> None:
    captions = list(captioner.caption_file(sounds / "long.wav"))
    assert spans(captions) == [(0, 10), (10, 20), (20, 25)]
    assert [caption.silent for caption in captions] == [False, True, False]
    samples, _ = soundfile.read(sounds / "long.wav", dtype="float32")
    assert captions[0] == captioner.caption(samples[: 10 * RATE], RATE)
    assert captions == list(captioner.caption_windows(samples, RATE))


def test_windows_may_overlap(captioner: Captioner, sounds: Path) -> None:
    captions = list(captioner.caption_file(sounds / "long.wav", window=4, hop=2))
    assert spans(captions) == [(start, start + 4) for start in range(0, 20, 2)] + [(20, 24), (22, 25)]


def test_the_end_of_a_file_is_captioned_from_one_second_on(captioner: Captioner, tmp_path: Path) -> None:
    for seconds, expected in ((10.9, 1), (11.0, 2), (0.2, 1)):
        soundfile.write(tmp_path / "a.wav", noise(seconds), RATE)
        assert len(list(captioner.caption_file(tmp_path / "a.wav"))) == expected
        assert captioner.windows(seconds) == expected


def test_times_are_those_of_the_file_at_its_own_rate(captioner: Captioner, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(12.34567, 44_100), 44_100)
    captions = list(captioner.caption_file(tmp_path / "a.wav"))
    assert spans(captions) == [(0, 10), (10, round(12.34567 * 44_100) / 44_100)]


def test_a_file_is_captioned_as_its_samples_are(captioner: Captioner, sounds: Path) -> None:
    samples, rate = soundfile.read(sounds / "tone.flac", dtype="float32")
    assert list(captioner.caption_file(sounds / "tone.flac")) == [captioner.caption(samples, rate)]


@pytest.mark.parametrize(
    "lengths",
    [
        {"window": 0.1},
        {"window": 11},
        {"window": float("nan")},
        {"hop": 0},
        {"hop": -1},
        {"hop": float("inf")},
        {"hop": float("nan")},
    ],
)
def test_a_window_or_hop_that_cannot_be_is_refused_before_the_file_is_opened(
    captioner: Captioner, lengths: dict[str, float]
) -> None:
    window, hop = lengths.get("window"), lengths.get("hop")
    for check in (
        lambda: captioner.caption_file("no such file.wav", window=window, hop=hop),
        lambda: captioner.windows(10.0, window=window, hop=hop),
        lambda: captioner.check_windows(window=window, hop=hop),
    ):
        with pytest.raises(ValueError, match="must be"):
            check()


def test_a_captioner_may_be_shared_between_threads(captioner: Captioner) -> None:
    clips = [noise(3, seed=seed, level=0.01 * (seed + 1)) for seed in range(12)]
    alone = [captioner.caption(clip, RATE) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: captioner.caption(clip, RATE), clips))
    assert alone == together
