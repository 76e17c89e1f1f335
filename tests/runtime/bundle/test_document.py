"""BUNDLE.md is true: its tables are the signatures that sessions check, its recipe gives edgecap's captions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgecap
from edgecap.audio.frontend import log_mel
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.manifest import EncoderInput, Manifest, Search, manifest_schema
from edgecap.captioner import Captioner
from edgecap.inference.onnx_session import open_graph
from edgecap.inference.signatures import Signature, signatures
from edgecap.runtimes import RUNTIMES
from support.signals import RATE, noise
from support.tiny_model import tiny_manifest

DOCUMENT = (Path(edgecap.__file__).parent / "bundle" / "BUNDLE.md").read_text(encoding="utf-8")


def documented(graph: str, manifest: Manifest) -> tuple[Signature, Signature]:
    """Inputs and outputs in the table of a graph, shapes computed for a manifest."""
    section = DOCUMENT.partition(f": the `{graph}` graph\n")[2]
    section = re.split(r"\n####? ", section)[0]
    sizes = vars(manifest.front_end) | vars(manifest.encoder) | vars(manifest.decoder) | vars(manifest.vocabulary)
    # as the document says, a graph of fixed beams takes one clip
    sizes |= {"beams": manifest.decoder.beams or None, "clips": 1 if manifest.decoder.beams else None}
    tables: dict[str, dict[str, object]] = {"in": {}, "out": {}}
    for direction, condition, name, element, shape in re.findall(
        r"^\| (in|out)(?:, `\"([\w-]+)\"`)? \| `(\w+)` \| (\w+) \| (\(.*?\)) \|", section, re.MULTILINE
    ):
        if condition in ("", manifest.encoder.input, manifest.decoder.search):
            tables[direction][name] = (element, eval(shape.replace("·", "*"), {}, sizes))
    return tables["in"], tables["out"]  # type: ignore[return-value]


@pytest.mark.parametrize("beams", [0, 3])
@pytest.mark.parametrize(("kind", "search"), [("log_mel", "outside"), ("waveform", "in-graph")])
def test_the_tables_are_the_signatures_in_their_order(kind: EncoderInput, search: Search, beams: int) -> None:
    manifest = tiny_manifest(beams=beams)
    encoder, decoder = replace(manifest.encoder, input=kind), replace(manifest.decoder, search=search)
    manifest = replace(manifest, encoder=encoder, decoder=decoder)
    for graph, signature in signatures(manifest).items():
        for table, expected in zip(documented(graph, manifest), signature, strict=True):
            assert list(table.items()) == list(expected.items())


def test_the_table_of_runtimes_lists_their_files() -> None:
    section = DOCUMENT.partition("### The files of each runtime")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    files = {name: re.findall(r"`(\w+\.\w+)`", cell) for name, cell in rows}
    assert files == {name: list(spec.graphs.values()) for name, spec in RUNTIMES.items()}


def test_every_key_of_the_manifest_is_described() -> None:
    keys = {key for definition in manifest_schema()["$defs"].values() for key in definition["properties"]}
    assert sorted(key for key in keys if f"`{key}`" not in DOCUMENT) == []


@pytest.mark.parametrize("seconds", [0.2, 3.0, 10.0])
def test_the_greedy_recipe_gives_the_caption_of_a_beam_of_one(
    seconds: float, tiny_folder: Path, captioner: Captioner
) -> None:
    bundle, samples = load_bundle(tiny_folder), noise(seconds)
    manifest = bundle.manifest
    encoder, decoder, front_end = manifest.encoder, manifest.decoder, manifest.front_end
    encode, decode = (open_graph(bundle.path(role)) for role in ("encode", "decode"))
    shortest = max((encoder.frames_per_memory - 1) * front_end.hop_length, front_end.n_fft // 2 + 1)
    samples = np.pad(samples, (0, max(0, shortest - samples.size)))
    frames = log_mel(samples, front_end)
    assert frames.shape[1] == samples.size // front_end.hop_length + 1
    window = np.full((1, front_end.n_mels, encoder.window_frames), 10 * np.log10(front_end.amin), np.float32)
    window[0, :, : frames.shape[1]] = frames
    length = np.array([min(max(1, frames.shape[1] // encoder.frames_per_memory), encoder.memory_frames)])
    keys, values = encode.run(["cross_keys", "cross_values"], {"log_mel": window, "memory_length": length})
    cache = np.zeros((decoder.layers, 1, decoder.heads, decoder.max_tokens, decoder.head_dim), np.float32)
    caches, tokens = [cache, cache], [manifest.vocabulary.start]
    while tokens[-1] != manifest.vocabulary.end and len(tokens) <= decoder.max_tokens:
        feed = {"tokens": np.array(tokens[-1:]), "position": np.array([len(tokens) - 1]), "memory_length": length}
        feed |= {"self_keys": caches[0], "self_values": caches[1], "cross_keys": keys, "cross_values": values}
        log_probs, *caches = decode.run(["log_probs", "new_self_keys", "new_self_values"], feed)
        tokens.append(int(log_probs[0].argmax()))
    (beam,) = captioner.caption(noise(seconds), RATE, beam=1).beams
    assert beam.tokens == tuple(tokens[1:])
