"""How probable a caption is: what is computed from beams and embedding, and what is said where it is not enough."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap import Captioner, ManifestError, load_bundle
from edgecap.bundle.bundle import BundleContent, write_bundle
from edgecap.bundle.confidence import ConfidenceSpec, SourceSpec, parse_confidence, render_confidence
from edgecap.caption import Beam
from edgecap.confidence import PLAIN_FEATURES, Confidence, features
from support.signals import RATE, noise
from support.tiny_model import random_weights, tiny_contents, tiny_manifest

DOG, RAIN = 4, 5
"""Token ids."""


def spec(*, right: float = 0.0, broad: float = 0.0, heard: float = 50.0, dimension: int = 2) -> ConfidenceSpec:
    """Two sources in two groups; an embedding's first two values are their logits, the constants as given."""
    projection = np.zeros((dimension, 3), np.int8)
    projection[0, 0] = projection[1, 1] = 1
    return ConfidenceSpec(
        sources=(SourceSpec(name="dog", tokens=(DOG,), group=0), SourceSpec(name="rain", tokens=(RAIN,), group=1)),
        groups=("an animal can be heard", "water can be heard"),
        unclear="some sound, unclear",
        embedding_dim=dimension,
        projection=base64.b64encode(projection.tobytes()).decode(),
        scales=(1.0, 1.0, 1.0),
        offsets=(0.0, 0.0, heard),
        right=(*[0.0] * (PLAIN_FEATURES + 2), right),
        broad=(*[0.0] * (PLAIN_FEATURES + 2), broad),
    )


def beams(*tokens: int) -> tuple[Beam, ...]:
    """One beam for each token, which it says alone, the next 0.5 worse."""
    return tuple(Beam(f"word {token}", -0.5 * place, (token, 2)) for place, token in enumerate(tokens, 1))


def bundle_with(folder: Path, confidence: ConfidenceSpec) -> Path:
    """The tiny bundle with a confidence."""
    contents = [
        *tiny_contents(random_weights(6)),
        BundleContent("confidence.json", "confidence", render_confidence(confidence)),
    ]
    return write_bundle(folder, tiny_manifest(), contents).folder


def test_features_are_score_agreement_lead_and_how_strongly_sources_are_heard() -> None:
    values = features([[0], [1], [0, 1]], [-0.5, -0.7, -0.9], np.array([2.0, 3.0, 40.0]))
    assert values.tolist() == pytest.approx([-0.5, 0.5, 0.2, 0, 1, 0, 2.0, 3.0, -1.0, -1.0, 12.0, 1, 0])
    alone = features([[]], [-0.5], np.array([2.0, 3.0, -1.0]))
    assert alone.tolist() == pytest.approx([-0.5, 0, 0, 1, 0, 1, -6.0, 3.0, -9.0, -9.0, -1.0, 0, 0])


def test_a_probability_is_that_of_the_fitted_logistic_function_times_that_any_source_is_heard() -> None:
    embedding = np.array([1.0, -2.0], np.float32)
    sure = Confidence(spec(right=1.0, broad=2.0), embedding_dim=2, vocabulary_size=6)(embedding, beams(DOG, RAIN))
    assert (sure.confidence, sure.broad) == pytest.approx((1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))))
    noise_alone = Confidence(spec(right=1.0, heard=-5.0), embedding_dim=2, vocabulary_size=6)(embedding, beams(DOG))
    assert noise_alone.confidence == pytest.approx(1 / (1 + math.exp(-1)) / (1 + math.exp(5)))


@pytest.mark.parametrize(
    ("right", "broad", "token", "said"),
    [
        (1.0, 1.0, DOG, "word 4"),
        (-1.0, 1.0, DOG, "an animal can be heard"),
        (-1.0, 1.0, RAIN, "water can be heard"),
        (-1.0, -1.0, DOG, "some sound, unclear"),
        (-1.0, 1.0, 3, "some sound, unclear"),  # it names no source
    ],
)
def test_what_is_less_probable_is_said_more_broadly(right: float, broad: float, token: int, said: str) -> None:
    confidence = Confidence(spec(right=right, broad=broad), embedding_dim=2, vocabulary_size=6)
    assessment = confidence(np.zeros(2, np.float32), beams(token))
    assert assessment.statement(f"word {token}", 0.5) == said
    assert assessment.statement(f"word {token}", 0.0) == f"word {token}"


@pytest.mark.parametrize(
    ("confidence", "dimension", "words", "wrong"),
    [
        (spec(), 3, 6, "does not fit its embedding of 3"),
        (spec(), 2, 5, "words that the vocabulary does not have"),
        (replace(spec(), projection="AAAA"), 2, 6, "does not fit its embedding"),
        (replace(spec(), projection="*"), 2, 6, "no valid projection"),
        (replace(spec(), right=(1.0,), broad=(1.0,)), 2, 6, "has 1 weights, not 14"),
    ],
)
def test_what_does_not_fit_the_bundle_is_refused(
    confidence: ConfidenceSpec, dimension: int, words: int, wrong: str
) -> None:
    with pytest.raises(ManifestError, match=wrong):
        Confidence(confidence, embedding_dim=dimension, vocabulary_size=words)


def test_a_file_that_is_damaged_names_what_is_wrong() -> None:
    assert parse_confidence(render_confidence(spec()), place="here") == spec()
    document = json.loads(render_confidence(spec()))
    for changed, wrong in (
        ({"unclear": 3}, "here: unclear must be"),
        ({"scales": [1.0]}, "must have 3 numbers"),
        ({"groups": ["an animal can be heard"]}, "group does not exist"),
    ):
        with pytest.raises(ManifestError, match=wrong):
            parse_confidence(json.dumps(document | changed).encode(), place="here")
    with pytest.raises(ManifestError, match="is not JSON"):
        parse_confidence(b"{", place="here")


def test_a_bundle_with_it_says_how_probable_its_captions_are_and_one_without_does_not(
    tmp_path: Path, captioner: Captioner
) -> None:
    dimension = tiny_manifest().encoder.embedding_dim
    folder = bundle_with(tmp_path / "sure", spec(right=1.0, dimension=dimension))
    caption = Captioner.load(folder, threads=1).caption(noise(5), RATE)
    assert caption.confidence == pytest.approx(1 / (1 + math.exp(-1)))
    assert caption.document()["confidence"] == 0.7311
    assert load_bundle(folder).loaded_size > load_bundle(captioner.bundle.folder).loaded_size
    plain = captioner.caption(noise(5), RATE)
    assert (plain.confidence, plain.document()["confidence"]) == (None, None)
    assert plain.said(0.9) == plain.text
    assert caption.text == plain.text


def test_a_bundle_has_one_at_most(tmp_path: Path) -> None:
    twice = [BundleContent(f"{name}.json", "confidence", render_confidence(spec())) for name in "ab"]
    with pytest.raises(ManifestError, match="2 files of role 'confidence'"):
        write_bundle(tmp_path / "twice", tiny_manifest(), [*tiny_contents(random_weights(6)), *twice])


def test_the_command_says_what_is_sure_enough(
    edgecap: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, tiny_folder: Path, sounds: Path
) -> None:
    folder = bundle_with(tmp_path / "s", spec(right=-3.0, dimension=tiny_manifest().encoder.embedding_dim))
    ask = ("caption", sounds / "noise.wav", "--min-confidence", "0.5", "--model")
    assert edgecap(*ask, folder).stdout == "some sound, unclear\n"
    refused = edgecap(*ask, tiny_folder)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "does not know how probable its captions are" in refused.stderr
