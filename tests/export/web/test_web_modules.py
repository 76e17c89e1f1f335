"""The JavaScript modules of the web page, under Node, give what Python gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgecap.audio.file import AudioFile
from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap.audio.resample import resampled
from edgecap.audio.samples import loudest_level
from edgecap.audio.windows import WindowPlan
from edgecap.bundle.bundle import Bundle
from edgecap.bundle.manifest import VocabularySpec
from edgecap.caption import sentence
from edgecap.captioner import Captioner
from edgecap.inference.decoding import beam_search
from edgecap.types import Waveform
from support.node_parts import node, web_runtime
from support.signals import RATE, noise, tone

EXAMPLES = Path(__file__).parents[3] / "examples"
SOUNDS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
FRONT_ENDS = {
    "published": FrontEnd(),
    "published at a level": FrontEnd(clip_level=5.0),
    "magnitude in decibels": FrontEnd(power=1, clip_level=0.0, top_db=60.0),
    "yamnet": FrontEnd(power=1, win_length=400, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log"),
    "yamnet at a level": FrontEnd(
        power=1, win_length=400, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log", clip_level=5.0
    ),
    "400 points": FrontEnd(n_fft=400, win_length=400, n_mels=40, compression="log"),
}


def samples_of(path: Path) -> Waveform:
    """A file as the model gets it."""
    with AudioFile(path) as file:
        return np.concatenate(list(resampled(file.mono(), file.sample_rate, RATE)))


def stored(samples: Waveform, path: Path) -> str:
    """Samples in a file of float32, which a module reads."""
    np.asarray(samples, np.float32).tofile(path)
    return str(path)


READ = "const read = (path) => new Float32Array(new Uint8Array(readFileSync(path)).buffer);"


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_the_front_end_gives_the_log_mel_of_python(name: str, tmp_path: Path) -> None:
    front_end, samples = FRONT_ENDS[name], samples_of(EXAMPLES / "dog.ogg")[: 3 * RATE]
    columns = front_end.frames(samples.size) + 5
    result = node(
        f"""import {{ FrontEnd, loudestLevel }} from "./frontend.js";{READ}
        const frontEnd = new FrontEnd(input.constants), samples = read(input.samples);
        console.log(JSON.stringify({{ mel: [...frontEnd.logMel(samples, input.columns)],
          level: loudestLevel(samples, {RATE}), silence: frontEnd.silence }}));""",
        {"constants": asdict(front_end), "samples": stored(samples, tmp_path / "samples"), "columns": columns},
    )
    mel, expected = np.reshape(result["mel"], (front_end.n_mels, columns)), log_mel(samples, front_end)
    assert result["silence"] == pytest.approx(front_end.silence)
    assert np.all(mel[:, -5:] == np.float32(front_end.silence))
    assert result["level"] == pytest.approx(loudest_level(samples, RATE), abs=1e-4)
    # values far below the loudest of their frame show the last bits of float32 (docs/export.md)
    near = expected > expected.max(axis=0) - (60.0 if front_end.compression == "decibel" else 9.0)
    np.testing.assert_allclose(mel[:, :-5][near], expected[near], atol=1e-3)
    np.testing.assert_allclose(mel[:, :-5], expected, atol=0.05)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_the_resampler_gives_what_soxr_gives(rate: int, tmp_path: Path) -> None:
    # what both keep whole, and what both take away
    times = np.arange(rate) / rate
    samples = sum(
        np.sin(2 * np.pi * hertz * times) / 5 for hertz in (50, 440, 3_000, 7_000, 10_000) if 2 * hertz < rate
    )
    expected = np.concatenate(list(resampled([np.asarray(samples, np.float32)], rate, RATE)))
    result = node(
        f"""import {{ Resampler }} from "./resample.js";{READ}
        const samples = read(input.samples), whole = new Resampler(input.rate, {RATE}).push(samples, true);
        const live = new Resampler(input.rate, {RATE}), parts = [];
        for (let at = 0; at < samples.length; at += 1000) {{
          parts.push(...live.push(samples.subarray(at, at + 1000), at + 1000 >= samples.length));
        }}
        console.log(JSON.stringify([[...whole], parts]));""",
        {"samples": stored(np.asarray(samples, np.float32), tmp_path / "samples"), "rate": rate},
    )
    assert result[0] == result[1]
    assert len(result[0]) == pytest.approx(expected.size, abs=1)
    inside = slice(500, expected.size - 500)  # the filters begin and end differently
    np.testing.assert_allclose(np.asarray(result[0])[inside], expected[inside], atol=2e-4)


def table(seed: int, vocabulary: int = 12, depth: int = 8) -> NDArray[np.float32]:
    """Log-probabilities by position and the token before, coarse enough for sums that are equal."""
    random = np.random.default_rng(seed)
    logits = np.round(random.standard_normal((depth, vocabulary, vocabulary)), 1 if seed % 2 else 6)
    logits[:, :, 2] += 1.0
    return np.asarray(-np.abs(logits), np.float32)


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_the_search_chooses_as_python_does(beam: int) -> None:
    tables = [table(seed) for seed in range(20)]

    def decode(rows: NDArray[np.float32]) -> Callable[..., NDArray[np.float32]]:
        return lambda tokens, position, parents: rows[position, tokens].copy()

    expected = [beam_search(decode(rows), beam=beam, max_tokens=len(rows), start=1, end=2) for rows in tables]
    result = node(
        """import { beamSearch } from "./search.js";
        const results = [];
        for (const rows of input.tables) {
          const decode = (tokens, position) => Float32Array.from(tokens.flatMap((token) => rows[position][token]));
          results.push(await beamSearch(decode, { beam: input.beam, maxTokens: rows.length, start: 1, end: 2 }));
        }
        console.log(JSON.stringify(results));""",
        {"tables": [rows.tolist() for rows in tables], "beam": beam},
    )
    assert [[one["tokens"] for one in each] for each in result] == [
        [list(one.tokens) for one in each] for each in expected
    ]
    scores = [[one["score"] for one in each] for each in result]
    assert scores == [pytest.approx([one.score for one in each], abs=1e-6) for each in expected]


def test_a_decoder_without_numbers_is_refused() -> None:
    result = node(
        """import { beamSearch } from "./search.js";
        const search = { beam: 2, maxTokens: 3, start: 1, end: 2 };
        const refused = (value) => beamSearch(() => new Float32Array(8).fill(value), search).catch((e) => e.message);
        console.log(JSON.stringify([await refused(NaN), await refused(-Infinity)]));"""
    )
    assert result == ["the decoder gives log-probabilities that are not numbers"] * 2


def test_sentences_are_joined_as_in_python() -> None:
    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "man", "'s", "dog", ",", "-lrb-", "loud", "-rrb-", "$", "."]
    sentences = [[1, 4, 5, 6, 7, 2], [4, 5, 8, 9, 10, 11, 3, 13], [12, 4, 0, 9, 9, 7], [2], []]
    result = node(
        """import { sentence } from "./search.js";
        console.log(JSON.stringify(input.sentences.map((tokens) => sentence(tokens, input.words, input.special))));""",
        {"sentences": sentences, "words": words, "special": asdict(VocabularySpec(size=len(words)))},
    )
    assert result == [sentence(tokens, words, VocabularySpec(size=len(words))) for tokens in sentences]
    assert result[0] == "a man's dog"


CAPTIONS = """
import { pathToFileURL } from "node:url";
import { Captioner } from "./captioner.js";
const ort = await import(pathToFileURL(`${input.runtime}/ort.wasm.bundle.min.mjs`));
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmBinary = readFileSync(`${input.runtime}/ort-wasm-simd-threaded.wasm`);
const file = (name) => readFileSync(`${input.bundle}/${name}`), json = (name) => JSON.parse(file(name));
const captioner = await Captioner.load(ort, json("manifest.json"), json("vocabulary.json"),
  { encode: file("encode.onnx"), decode: file("decode.onnx") }, { executionProviders: ["wasm"] });
const results = {};
for (const [name, path] of Object.entries(input.sounds)) {
  results[name] = [];
  const samples = read(path);
  for (const [start, end] of captioner.windows(samples.length)) {
    results[name].push({ start, end, ...await captioner.caption(samples.subarray(start, end)) });
  }
}
console.log(JSON.stringify(results));
"""


def compared(bundle: Bundle, sounds: list[Path], runtime: Path, folder: Path) -> None:
    """Hold each window's tokens, place and score in JavaScript to those in Python."""
    captioner = Captioner.load(bundle.folder, threads=1)
    waveforms = {path.name: samples_of(path) for path in sounds}
    waveforms |= {"silence": np.zeros(RATE, np.float32), "short": tone(0.2), "long": noise(20.7)}
    stored_at = {name: stored(samples, folder / f"{name}.f32") for name, samples in waveforms.items()}
    result = node(
        READ + CAPTIONS, {"runtime": str(runtime), "bundle": str(bundle.folder), "sounds": stored_at}, timeout=900
    )
    for name, samples in waveforms.items():
        expected = list(captioner.caption_windows(samples, RATE))
        for one, other in zip(result[name], expected, strict=True):
            beams = [beam["tokens"] for beam in one["beams"]]
            assert (name, one["text"], beams) == (name, other.text, [list(beam.tokens) for beam in other.beams])
            assert (one["start"] / RATE, one["end"] / RATE) == pytest.approx((other.start, other.end))
            assert one["level_dbfs"] == pytest.approx(other.level_dbfs, abs=1e-3)
            assert one["score"] == pytest.approx(other.score, abs=1e-4)
            assert one["silent"] == other.silent


def test_every_example_gets_the_tokens_of_python(float_bundle: Bundle, tmp_path: Path) -> None:
    sounds = sorted(path for path in EXAMPLES.iterdir() if path.suffix in SOUNDS)
    assert len(sounds) >= 10
    compared(float_bundle, sounds, web_runtime(tmp_path / "runtime"), tmp_path)


def test_development_recordings_get_the_tokens_of_python(float_bundle: Bundle, shared: Path, tmp_path: Path) -> None:
    # all 102, where there is time for them: python -m edgecap_bench.live.site
    sounds = sorted((shared / "data" / "dev" / "audio").iterdir())[::10]
    compared(float_bundle, sounds, web_runtime(tmp_path / "runtime"), tmp_path)


def test_windows_are_cut_as_python_cuts_them(float_bundle: Bundle) -> None:
    manifest = json.loads((float_bundle.folder / "manifest.json").read_text())
    lengths = [1, RATE, 10 * RATE - 1, 10 * RATE, 10 * RATE + 1, 11 * RATE - 1, 11 * RATE, 25 * RATE, 30 * RATE]
    result = node(
        """import { Captioner } from "./captioner.js";
        const captioner = new Captioner(null, input.manifest, [], null, null);
        console.log(JSON.stringify(input.lengths.map((length) => captioner.windows(length))));""",
        {"manifest": manifest, "lengths": lengths},
    )
    plan = WindowPlan(length=10 * RATE, hop=10 * RATE, shortest_tail=RATE)
    for length, windows in zip(lengths, result, strict=True):
        expected = [(one.start, one.start + one.samples.size) for one in plan.cut([np.zeros(length, np.float32)])]
        assert [tuple(window) for window in windows] == expected
