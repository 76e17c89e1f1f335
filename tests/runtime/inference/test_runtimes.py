"""The table of runtimes is the one place that names them: a new one is a module and an entry."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgecap.bundle.bundle import BundleContent, vocabulary_content, write_bundle
from edgecap.captioner import Captioner
from edgecap.errors import ManifestError, MissingDependencyError
from edgecap.inference.session import open_session
from edgecap.runtimes import RUNTIMES, RuntimeSpec
from support.signals import RATE, noise
from support.tiny_model import WORDS, random_weights, tiny_contents, tiny_manifest

NEW_RUNTIME = '''
"""A runtime whose program is a JSON list of tokens, which it says whatever the sound."""

import json

import numpy as np

from edgecap.inference.graph_session import GraphSession


class ParrotSession(GraphSession):
    def __init__(self, bundle, threads):
        manifest = bundle.manifest
        tokens = json.loads(bundle.path("program").read_bytes())
        decoder = manifest.decoder
        cross = np.zeros((decoder.layers, decoder.heads, manifest.encoder.memory_frames, decoder.head_dim), np.float32)

        def encode(feed):
            return cross, cross, np.zeros((1, manifest.encoder.embedding_dim), np.float32)

        def decode(feed):
            log_probs = np.full((len(feed["tokens"]), manifest.vocabulary.size), -9.0, np.float32)
            log_probs[:, tokens[min(int(feed["position"][0]), len(tokens) - 1)]] = -0.1
            return log_probs, feed["self_keys"], feed["self_values"]

        super().__init__(manifest, encode, decode)
'''


def test_a_new_runtime_is_one_module_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parrot_session.py").write_text(NEW_RUNTIME)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(
        RUNTIMES,
        "parrot",
        RuntimeSpec(
            title="Parrot",
            session="parrot_session:ParrotSession",
            packages=("parrot_session",),
            graphs={"program": "p.json"},
        ),
    )
    contents = [BundleContent("p.json", "program", b"[4, 5, 6, 2]"), vocabulary_content(WORDS)]
    folder = write_bundle(tmp_path / "parrot", replace(tiny_manifest(), runtime="parrot"), contents).folder
    caption = Captioner.load(folder).caption(noise(2), RATE)
    assert caption.text == "a dog barks"
    assert caption.score == pytest.approx(-0.1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_the_session_of_every_runtime_is_where_the_table_says(name: str) -> None:
    module, _, session = RUNTIMES[name].session.partition(":")
    spec = find_spec(module)
    assert spec is not None
    assert f"class {session}(GraphSession)" in Path(str(spec.origin)).read_text(encoding="utf-8")


def test_a_runtime_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"does not know the runtime 'abacus', only onnx, executorch, litert"):
        write_bundle(tmp_path / "new", replace(tiny_manifest(), runtime="abacus"), tiny_contents(random_weights()))


def test_a_file_that_the_runtime_does_not_load_is_refused(tmp_path: Path) -> None:
    contents = [*tiny_contents(random_weights()), BundleContent("model.pte", "program", b"")]
    with pytest.raises(ManifestError, match=r"lists 'model\.pte' as 'program', which the runtime 'onnx' does not load"):
        write_bundle(tmp_path / "both", tiny_manifest(), contents)
    with pytest.raises(ManifestError, match="0 files of role 'program'"):
        write_bundle(tmp_path / "other", replace(tiny_manifest(), runtime="litert"), contents[:3])


def test_a_missing_package_is_named_with_what_to_type(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not RUNTIMES["onnx"].installed
    with pytest.raises(MissingDependencyError, match=r"ONNX Runtime needs onnxruntime.*type: pip install onnxruntime"):
        Captioner.load(tiny_folder)


def test_a_session_needs_a_thread(captioner: Captioner) -> None:
    with pytest.raises(ValueError, match="at least 1 thread, not 0"):
        open_session(captioner.bundle, 0)
