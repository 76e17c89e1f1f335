"""The ONNX session runs the graphs as the bundle describes them, and refuses other graphs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgecap.bundle.bundle import Bundle, BundleContent, load_bundle, write_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.captioner import Captioner
from edgecap.errors import BundleError
from edgecap.inference import onnx_session
from edgecap.inference.decoding import beam_search
from edgecap.inference.graph_session import GraphSession
from edgecap.inference.session import InferenceSession, open_session
from support.signals import RATE, noise
from support.tiny_model import (
    FRAMES_PER_MEMORY,
    HEAD_DIM,
    HEADS,
    LAYERS,
    MAX_TOKENS,
    MEMORY_FRAMES,
    WIDTH,
    WINDOW_FRAMES,
    WORDS,
    encode_graph,
    prefix_log_probs,
    random_weights,
    tiny_contents,
    tiny_manifest,
    write_tiny_bundle,
)

WEIGHTS = random_weights(6)


def log_mel(seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((64, WINDOW_FRAMES)) * 20 - 40).astype(np.float32)


@pytest.fixture(scope="module")
def session(tiny_folder: Path) -> InferenceSession:
    return open_session(load_bundle(tiny_folder), threads=1)


def test_cached_steps_equal_the_full_prefix_although_beams_change_places(session: InferenceSession) -> None:
    encoded = session.encode(log_mel(), 20)
    decode = session.decoder(encoded, 3)
    random = np.random.default_rng(1)
    prefixes: list[list[int]] = [[], [], []]
    for position in range(MAX_TOKENS):
        parents = random.integers(0, 3, 3)
        tokens = random.integers(0, len(WORDS), 3)
        prefixes = [[*prefixes[parent], int(token)] for parent, token in zip(parents, tokens, strict=True)]
        log_probs = decode(tokens, position, parents)
        for row, prefix in zip(log_probs, prefixes, strict=True):
            expected = prefix_log_probs(WEIGHTS, encoded.cross_keys, encoded.cross_values, 20, prefix)
            # float32 logits of up to 50, summed in the order of the processor at hand: 4e-5 off on a Cortex-A72
            np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-4)


def test_a_graph_fixed_to_three_beams_gives_the_same_captions_for_fewer(
    session: InferenceSession, tmp_path: Path
) -> None:
    fixed = open_session(write_tiny_bundle(tmp_path / "fixed", beams=3), threads=1)
    for seed in range(4):
        for beam in (1, 2, 3):
            free, tied = (
                beam_search(one.decoder(one.encode(log_mel(seed), 31), beam), beam=beam, max_tokens=20, start=1, end=2)
                for one in (session, fixed)
            )
            assert [best.tokens for best in free] == [best.tokens for best in tied]
    with pytest.raises(BundleError, match="at most 3 beams"):
        fixed.decoder(fixed.encode(log_mel(), 31), 4)


def test_frames_beyond_the_memory_length_do_not_matter(session: InferenceSession) -> None:
    cut = log_mel()
    cut[:, 10 * FRAMES_PER_MEMORY :] = -100.0
    start = (np.array([1]), 0, np.array([0]))
    rows = [session.decoder(session.encode(frames, 10), 1)(*start) for frames in (log_mel(), cut)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_decoder_starts_with_an_empty_cache_each_time(session: InferenceSession) -> None:
    encoded = session.encode(log_mel(), 31)
    once, again = (beam_search(session.decoder(encoded, 3), beam=3, max_tokens=20, start=1, end=2) for _ in range(2))
    assert once == again


def test_a_graph_whose_shape_is_not_the_manifests_is_named(tmp_path: Path) -> None:
    manifest = tiny_manifest()
    wrong = replace(manifest, encoder=replace(manifest.encoder, embedding_dim=9))
    bundle = write_bundle(tmp_path / "wrong", wrong, tiny_contents(WEIGHTS))
    with pytest.raises(BundleError, match=r"encode\.onnx: output 'clip_embedding' is float32 \[1, 8\]"):
        open_session(bundle, threads=1)


def test_a_graph_in_the_wrong_place_is_named(tmp_path: Path) -> None:
    contents = tiny_contents(WEIGHTS)
    contents[1] = BundleContent("decode.onnx", "decode", encode_graph(WEIGHTS))
    bundle = write_bundle(tmp_path / "swapped", tiny_manifest(), contents)
    with pytest.raises(BundleError, match=r"decode\.onnx has an unknown input 'log_mel'|lacks input"):
        open_session(bundle, threads=1)


def test_a_file_without_a_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    contents = tiny_contents(WEIGHTS)
    contents[0] = BundleContent("encode.onnx", "encode", b"not a graph at all")
    bundle = write_bundle(tmp_path / "junk", tiny_manifest(), contents)
    with pytest.raises(BundleError, match="does not load in ONNX Runtime") as caught:
        open_session(bundle, threads=1)
    assert "\n" not in str(caught.value)


def altered(folder: Path, change: Callable[[onnx.ModelProto], object], role: Literal["encode", "decode"]) -> Bundle:
    """A tiny bundle one of whose graphs is changed."""
    contents = tiny_contents(WEIGHTS)
    place = next(index for index, content in enumerate(contents) if content.role == role)
    data = contents[place].data
    assert isinstance(data, bytes)
    model = onnx.load_from_string(data)
    change(model)
    contents[place] = BundleContent(f"{role}.onnx", role, bytes(model.SerializeToString()))
    return write_bundle(folder, tiny_manifest(), contents)


def hidden(name: str, kind: str, *sizes: int) -> Callable[[onnx.ModelProto], None]:
    """Put a node of `kind` before an output; `sizes` are known only when the graph is run."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        (maker,) = [node for node in graph.node if name in node.output]
        maker.output[list(maker.output).index(name)] = "made"
        for constant, value in {"nothing": [0], "sizes": list(sizes)}.items():
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), constant))
        graph.node.append(helper.make_node("Mul", ["memory_length", "nothing"], ["zero"]))
        graph.node.append(helper.make_node("Add", ["sizes", "zero"], ["given"]))
        graph.node.append(helper.make_node(kind, ["made", "given"][: 1 + bool(sizes)], [name]))
        (output,) = [item for item in graph.output if item.name == name]
        for number, axis in enumerate(output.type.tensor_type.shape.dim if sizes else ()):
            axis.dim_param = f"free_{number}"

    return change


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("encode", hidden("clip_embedding", "Reshape", 3, 3), "the graph encode of tiny fails when it is run"),
        ("encode", hidden("clip_embedding", "Tile", 2, 1), r"the graph encode of tiny gives 'clip_embedding' of sh"),
        (
            "encode",
            hidden("cross_keys", "Tile", 1, 1, 1, 2),
            r"gives 'cross_keys' of shape \[2, 2, 32, 8\], and the ma",
        ),
        ("encode", hidden("clip_embedding", "Log"), "the graph encode of tiny gives no numbers"),
        ("decode", hidden("log_probs", "Tile", 1, 2), "the graph decode of tiny fails when it is run"),
        ("decode", hidden("log_probs", "Reshape", 7, 7), "the graph decode of tiny fails when it is run"),
    ],
)
def test_a_graph_that_fails_when_it_is_run_is_a_fault_of_the_bundle(
    tmp_path: Path, role: Literal["encode", "decode"], change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    bundle = altered(tmp_path / "altered", change, role)
    captioner = Captioner(bundle, open_session(bundle, 1))
    with pytest.raises(BundleError, match=message) as caught:
        captioner.caption(noise(3), RATE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("export the model again")


def test_a_search_in_the_graph_that_gives_other_words_or_shapes_is_a_fault_of_the_bundle() -> None:
    manifest = tiny_manifest()
    manifest = replace(manifest, decoder=replace(manifest.decoder, search="in-graph"))
    tokens, scores = np.full((1, 3, MAX_TOKENS), 4), np.zeros((1, 3), np.float32)
    encoded = answering(manifest, tokens, scores).encode(log_mel(), 20)
    assert len(answering(manifest, tokens, scores).search(encoded, 3)) == 3
    for wrong, other, message in (
        (tokens + len(WORDS), scores, "gives words that the vocabulary of 24 does not have"),
        (tokens - 5, scores, "gives words that the vocabulary of 24 does not have"),
        (
            tokens[:, :, :-1],
            scores,
            r"gives 'tokens' of shape \[1, 3, 19\], and the manifest requires \[None, None, 20",
        ),
        (tokens, scores[:, :2], r"gives tokens of shape \[1, 3, 20\] and scores of shape \[1, 2\] for 1 clips"),
        (
            np.repeat(tokens, 2, axis=0),
            scores,
            r"gives tokens of shape \[2, 3, 20\] and scores of shape \[1, 3\] for 1",
        ),
        (tokens, scores * np.nan, "log-probabilities that are not numbers"),
    ):
        with pytest.raises(BundleError, match=message):
            answering(manifest, wrong, other).search(encoded, 3)


def answering(manifest: Manifest, *answer: np.ndarray) -> GraphSession:
    """A session whose decoder always gives `answer`."""
    cross = np.zeros((LAYERS, HEADS, MEMORY_FRAMES, HEAD_DIM), np.float32)
    return GraphSession(manifest, lambda _: (cross, cross, np.zeros((1, WIDTH), np.float32)), lambda _: answer)


def test_one_thread_is_the_default(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, really = list[int](), onnx_session.open_graph

    def opened(path: Path, threads: int, *, lean: bool) -> object:
        used.append(threads)
        return really(path, threads, lean=lean)

    monkeypatch.setattr(onnx_session, "open_graph", opened)
    open_session(load_bundle(tiny_folder))
    open_session(load_bundle(tiny_folder), threads=3)
    assert used == [1, 1, 3, 3]


NOISY = """
import os, sys
os.write(2, b"[W:onnxruntime:Default, device_discovery.cc:325] GPU device discovery failed\\n")
sys.path.remove(os.path.dirname(os.path.dirname(__file__)))
del sys.modules["onnxruntime"]
import onnxruntime  # the real one
"""
"""What ONNX Runtime 1.23 to 1.28 write where /sys/class/drm has a card without a vendor, as on a Raspberry Pi."""


def test_a_warning_that_onnx_runtime_writes_when_it_is_imported_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").write_text(NOISY)
    program = "from edgecap.inference.onnx_session import import_onnxruntime; print(import_onnxruntime().__version__)"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    for line, shown in ((program, ""), ("import onnxruntime", "GPU device discovery failed")):
        done = subprocess.run(
            [sys.executable, "-c", line],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown in done.stderr
        assert bool(done.stderr) == bool(shown)
