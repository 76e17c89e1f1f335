"""The model inside the package: it is there, it is licensed, and it hears the common sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgecap import Captioner
from edgecap.audio.file import decode
from edgecap.bundle.models import BUNDLED, default_model, list_models

EXAMPLES = Path(__file__).parents[3] / "examples"
HEARD = {
    "aeroplane.ogg": {"aircraft", "airplane", "plane", "jet", "engine"},
    "applause.ogg": {"applause", "applauding", "applauds", "clapping", "crowd", "audience"},
    "birds.ogg": {"birds", "bird"},
    "dog.ogg": {"dog", "dogs"},
    "music.mp3": {"music", "guitar", "instrument"},
    "rain.ogg": {"rain"},
    "siren.flac": {"siren", "sirens"},
    "speech.wav": {"woman", "man", "person", "speech", "speaking", "speaks", "talking", "talks"},
    "train.opus": {"train", "locomotive", "steam"},
    "water.ogg": {"water", "stream"},
}
"""Words of which a true caption of each example has one."""


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.load(threads=1)


@pytest.mark.parametrize(("name", "most"), [("tiny", 30_000_000), ("effb2-trm", 45_000_000)])
def test_a_bundled_model_is_as_small_as_documented(name: str, most: int) -> None:
    assert sum(path.stat().st_size for path in (BUNDLED / name).iterdir()) <= most


def test_the_smaller_and_better_model_is_the_default_and_the_other_is_there() -> None:
    assert default_model() == BUNDLED / "tiny"
    assert {model.name for model in list_models() if model.bundled} == {"tiny", "effb2-trm"}


def test_the_published_shape_hears_a_dog_too() -> None:
    captioner = Captioner.load("effb2-trm", threads=1)
    first = next(iter(captioner.caption_file(EXAMPLES / "dog.ogg")))
    assert HEARD["dog.ogg"] & set(first.text.split()), first.text


@pytest.mark.parametrize("name", ["tiny", "effb2-trm"])
def test_a_bundled_model_has_a_card_and_says_that_it_is_non_commercial(name: str) -> None:
    captioner = Captioner.load(name, threads=1)
    assert captioner.manifest.licence.name == "CC-BY-NC-4.0"
    card = (BUNDLED / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "CC BY-NC 4.0" in card
    assert "edgecap import" in card
    assert "@" not in card, "the card has a place that was not filled in"
    assert any(name.startswith("cider_d") for name in captioner.manifest.metrics)


@pytest.mark.parametrize("name", HEARD)
def test_a_common_sound_is_named(name: str, captioner: Captioner) -> None:
    first = next(iter(captioner.caption_file(EXAMPLES / name)))
    assert HEARD[name] & set(first.text.split()), first.text


def test_different_sounds_get_different_captions(captioner: Captioner) -> None:
    texts = {next(iter(captioner.caption_file(EXAMPLES / name))).text for name in HEARD}
    assert len(texts) >= len(HEARD) - 1


def test_a_greedy_search_hears_the_same_kind_of_sound(captioner: Captioner) -> None:
    greedy = next(iter(captioner.caption_file(EXAMPLES / "dog.ogg", beam=1)))
    assert HEARD["dog.ogg"] & set(greedy.text.split())
    assert len(greedy.beams) == 1


@pytest.mark.parametrize("gain", [0.1, 0.02])
def test_a_microphone_that_is_set_lower_changes_no_caption(gain: float, captioner: Captioner) -> None:
    changed = []
    for name in HEARD:
        samples = decode(EXAMPLES / name, 16_000, 10.0)
        loud, quiet = captioner.caption(samples, 16_000), captioner.caption(samples * np.float32(gain), 16_000)
        changed += [name] if loud.text != quiet.text else []
    assert not changed


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-4])
def test_silence_is_captioned_as_silence(level: float, captioner: Captioner) -> None:
    noise = np.random.default_rng(0).standard_normal(160_000).astype(np.float32) * level
    caption = captioner.caption(noise, 16_000)
    assert caption.silent
    assert caption.text == "silence"


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_noise_is_not_captioned_as_a_voice_or_an_animal(slope: float, captioner: Captioner) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(160_000))
    noise = np.fft.irfft(spectrum / np.maximum(np.arange(spectrum.size), 20) ** slope)
    caption = captioner.caption((0.05 * noise / noise.std()).astype(np.float32), 16_000)
    invented = {"man", "woman", "speaks", "speaking", "dog", "bird", "birds", "music", "siren"}
    assert not invented & set(caption.text.split()), caption.text
