"""The front end inside a graph gives the log-mel that the front end outside gives, and a bundle with it captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.bundle.bundle import Bundle, BundleContent, write_bundle
from edgecap.captioner import Captioner
from edgecap.errors import BundleError
from edgecap.inference.session import open_session
from edgecap.types import Waveform
from edgecap_export.graphs.onnx_export import onnx_model
from edgecap_export.graphs.verify import Tolerances, verify_session
from edgecap_export.graphs.waveform import WAVEFORM_INPUTS, GraphFrontEnd
from edgecap_export.quantisation.onnx_graph import graph_runner
from support.exports.exported import Export
from support.small_student import FRONT_END, WINDOW, small_student

FRAMES = 201
KINDS = {
    "decibel": FrontEnd(),
    "log": FRONT_END,
    "decibel at a level": FrontEnd(clip_level=5.0),
    "log at a level": replace(FRONT_END, clip_level=5.0),
}
LENGTHS = (32_159, 32_000, 20_011, 4_960, 300)
"""Samples of clips: the longest that two seconds of frames hold, exactly those, and shorter ones."""


def clip(samples: int) -> Waveform:
    """Noise that is coloured and swells as a recording does, 40 dB from its loudest band to its quietest."""
    white = np.random.default_rng(3).standard_normal(samples + 64)
    coloured = np.convolve(white, 0.9 ** np.arange(64), "valid")[:samples] + 0.02 * white[:samples]
    return (0.05 * coloured * (1.0 + np.sin(np.arange(samples) / 3_000))).astype(np.float32)


def decibels(spectrogram: Waveform, front_end: FrontEnd) -> Waveform:
    return spectrogram if front_end.compression == "decibel" else spectrogram * 20.0 / np.log(10.0)


def expected(samples: Waveform, front_end: FrontEnd) -> Waveform:
    spectrogram = log_mel(samples, front_end)
    return np.pad(spectrogram, ((0, 0), (0, FRAMES - spectrogram.shape[1])), constant_values=front_end.silence)


def inputs(samples: Waveform, front_end: FrontEnd) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    waveform = np.zeros((1, FRAMES * front_end.hop_length), np.float32)
    waveform[0, : samples.size] = samples
    return waveform, np.array([samples.size], np.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_gives_the_log_mel_of_the_front_end_outside_within_a_thousandth_of_a_decibel(kind: str) -> None:
    front_end = KINDS[kind]
    module = GraphFrontEnd(front_end, FRAMES).eval()
    example = tuple(torch.from_numpy(array) for array in inputs(clip(LENGTHS[0]), front_end))
    graph = onnx_model(module, example, WAVEFORM_INPUTS[:2], ("log_mel",), None)
    run = graph_runner(graph.SerializeToString())
    for length in LENGTHS:
        samples = clip(length)
        waveform, count = inputs(samples, front_end)
        wanted = decibels(expected(samples, front_end), front_end)
        with torch.inference_mode():
            by_torch = module(torch.from_numpy(waveform), torch.from_numpy(count))[0].numpy()
        by_onnx = run({"waveform": waveform, "samples": count})["log_mel"][0]
        for spectrogram in (by_torch, by_onnx):
            assert spectrogram.shape == wanted.shape
            np.testing.assert_allclose(decibels(spectrogram, front_end), wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_behind_the_clip_in_its_buffer_does_not_matter(kind: str) -> None:
    front_end = KINDS[kind]
    module = GraphFrontEnd(front_end, FRAMES)
    waveform, count = (torch.from_numpy(array) for array in inputs(clip(9_000), front_end))
    spoiled = waveform.clone()
    spoiled[0, 9_000:] = 1.0
    with torch.inference_mode():
        torch.testing.assert_close(module(spoiled, count), module(waveform, count), rtol=0, atol=0)


@pytest.mark.parametrize(
    "front_end",
    [
        FrontEnd(n_fft=400, win_length=400),
        FrontEnd(n_fft=375, win_length=301, hop_length=125),  # odd: no residue of half the transform
        FrontEnd(n_fft=1024, win_length=1024, hop_length=320, n_mels=128),
        FrontEnd(n_fft=128, win_length=64, hop_length=200, n_mels=20),  # samples between the frames belong to none
        FrontEnd(n_fft=256, win_length=256, hop_length=81, n_mels=20),  # no hop of whole rows: one step
    ],
    ids=lambda kind: f"{kind.n_fft}-{kind.win_length}-{kind.hop_length}",
)
def test_windows_and_hops_of_any_length_are_transformed(front_end: FrontEnd) -> None:
    samples = clip(30 * front_end.hop_length + 7)
    waveform = torch.zeros(1, 40 * front_end.hop_length)
    waveform[0, : samples.size] = torch.from_numpy(samples)
    with torch.inference_mode():
        ours = GraphFrontEnd(front_end, 40)(waveform, torch.tensor([samples.size]))[0].numpy()
    np.testing.assert_allclose(ours[:, :31], log_mel(samples, front_end), rtol=0, atol=1e-3)
    assert np.all(ours[:, 31:] == np.float32(front_end.silence))


def test_what_no_band_uses_is_not_computed() -> None:
    front_end = FRONT_END
    module = GraphFrontEnd(front_end, FRAMES)
    fine = module.fine
    assert module.window.shape[0] * fine < front_end.win_length + fine
    bins = front_end.f_max / front_end.sample_rate * front_end.n_fft
    assert module.second.shape[0] * module.second.shape[1] <= 2 * bins
    multiplications = fine * module.first.numel() + module.second.numel() + module.bank.numel()
    assert multiplications < 0.25 * 2 * bins * front_end.win_length


@pytest.fixture
def inside(exported: Export) -> Bundle:
    """A bundle for ONNX Runtime that takes a waveform."""
    return exported("onnx", "fp32", "waveform").bundle


def test_a_bundle_with_the_front_end_inside_says_what_pytorch_says(inside: Bundle) -> None:
    verify_session(small_student(1), open_session(inside, 1), WINDOW, Tolerances(), waveform=True)


def test_a_bundle_with_the_front_end_inside_captions_sounds_of_any_length(inside: Bundle) -> None:
    captioner = Captioner.load(inside.folder, threads=1)
    sound = clip(60_000)
    for length in (20_000, 9_001, 700):
        assert captioner.caption(sound[:length], 16_000).beams
    assert len(list(captioner.caption_windows(sound, 16_000))) == captioner.windows(60_000 / 16_000)


def test_a_stream_is_told_that_the_front_end_is_inside(inside: Bundle) -> None:
    captioner = Captioner.load(inside.folder, threads=1)
    with pytest.raises(BundleError, match="without --front-end in-graph"):
        captioner.encode(np.zeros((64, WINDOW), np.float32))


def test_a_manifest_that_hides_the_front_end_is_held_against_the_graph(inside: Bundle, tmp_path: Path) -> None:
    manifest = replace(inside.manifest, encoder=replace(inside.manifest.encoder, input="log_mel"))
    files = [inside.folder / entry.name for entry in inside.manifest.files]
    contents = [
        BundleContent(path.name, entry.role, path) for path, entry in zip(files, inside.manifest.files, strict=True)
    ]
    bundle = write_bundle(tmp_path / "hidden", manifest, contents)
    with pytest.raises(BundleError, match=r"lacks input 'log_mel'|unknown input"):
        open_session(bundle, 1)
