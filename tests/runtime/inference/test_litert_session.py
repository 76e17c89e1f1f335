"""The LiteRT session holds a program to its manifest, may be shared by threads, and names what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from edgecap.bundle.bundle import Bundle, BundleContent, write_bundle
from edgecap.bundle.manifest import Manifest
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, MissingDependencyError
from edgecap.inference.litert_session import import_interpreter
from edgecap.inference.session import open_session
from edgecap.inference.signatures import signatures
from support.exports.exported import SOUNDS, Exported

Litert = Callable[..., Exported]


def rewritten(
    made: Exported, folder: Path, *, manifest: Manifest | None = None, program: bytes | None = None
) -> Bundle:
    """The bundle again, with another manifest or program."""
    contents = [
        BundleContent(
            entry.name,
            entry.role,
            program if program is not None and entry.role == "program" else made.bundle.folder / entry.name,
        )
        for entry in made.bundle.manifest.files
    ]
    return write_bundle(folder, manifest or made.bundle.manifest, contents)


def test_a_bundle_is_captioned_by_its_folder(litert: Litert) -> None:
    captioner = Captioner.load(litert("int8").bundle.folder, threads=1)
    caption = captioner.caption(SOUNDS[0], 16_000)
    assert caption.beams
    assert set(caption.text.split()) <= set(captioner.bundle.vocabulary)


def test_the_command_captions_with_it(
    litert: Litert, edgecap: Callable[..., CompletedProcess[str]], sounds: Path
) -> None:
    done = edgecap("caption", "--model", litert("int8").bundle.folder, sounds / "noise.wav")
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "XNNPACK" not in done.stderr


@pytest.mark.parametrize("search", ["outside", "in-graph"])
def test_integers_are_32_bits_wide_as_the_document_says(litert: Litert, search: str) -> None:
    made = litert("fp32", "waveform", search) if search == "outside" else litert("fp32", search=search)
    interpreter = import_interpreter()(model_path=str(made.bundle.path("program")))
    for name, (inputs, _) in signatures(made.bundle.manifest).items():
        types = {
            key: np.dtype(tensor["dtype"]).name
            for key, tensor in interpreter.get_signature_runner(name).get_input_details().items()
        }
        assert types == {key: element.replace("int64", "int32") for key, (element, _) in inputs.items()}


@pytest.mark.parametrize("search", ["outside", "in-graph"])
def test_threads_may_share_a_session(litert: Litert, search: str) -> None:
    captioner = Captioner.load(litert("fp32", search=search).bundle.folder, threads=1)
    alone = [captioner.caption(sound, 16_000) for sound in SOUNDS]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: captioner.caption(SOUNDS[index % 3], 16_000), range(12)))
    assert together == [alone[index % 3] for index in range(12)]


@pytest.mark.parametrize("search", ["outside", "in-graph"])
def test_more_beams_than_the_program_has_are_refused(litert: Litert, search: str) -> None:
    captioner = Captioner.load(litert("fp32", search=search).bundle.folder, threads=1)
    with pytest.raises(BundleError, match="at most 3 beams, not 4"):
        captioner.caption(SOUNDS[0], 16_000, beam=4)


def test_a_file_without_a_program_is_refused_in_one_line(litert: Litert, tmp_path: Path) -> None:
    bundle = rewritten(litert("fp32"), tmp_path / "junk", program=b"not a program at all, but long enough to look")
    with pytest.raises(BundleError, match=r"model\.tflite does not load in LiteRT") as caught:
        open_session(bundle, 1)
    assert "\n" not in str(caught.value)


def test_a_program_that_is_not_the_manifests_is_named(litert: Litert, tmp_path: Path) -> None:
    made = litert("fp32")
    manifest = made.bundle.manifest
    wrong = replace(manifest, encoder=replace(manifest.encoder, embedding_dim=9))
    with pytest.raises(BundleError, match=r"\(encode\): output 'clip_embedding' is float32 \[1, 24\]"):
        open_session(rewritten(made, tmp_path / "wrong", manifest=wrong), 1)
    swapped = made.program.replace(b"decode\0", b"decade\0")
    with pytest.raises(BundleError, match="has no signature 'decode'"):
        open_session(rewritten(made, tmp_path / "unnamed", program=swapped), 1)
    hidden = replace(manifest, encoder=replace(manifest.encoder, input="waveform"))
    with pytest.raises(BundleError, match=r"\(encode\) has an unknown input 'log_mel'"):
        open_session(rewritten(made, tmp_path / "hidden", manifest=hidden), 1)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)


def test_without_a_runtime_the_error_names_the_extra(litert: Litert, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "ai_edge_litert", "tflite_runtime")
    with pytest.raises(MissingDependencyError, match=r'pip install "\.\[litert\]"') as caught:
        open_session(litert("fp32").bundle, 1)
    assert caught.value.exit_code == 5


def test_the_older_runtime_is_taken_where_it_is_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without(monkeypatch, "ai_edge_litert")
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text("class Interpreter: old = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert import_interpreter().old
    finally:
        for name in ("tflite_runtime", "tflite_runtime.interpreter"):
            sys.modules.pop(name, None)


def test_short_and_silent_sounds_are_captioned(litert: Litert) -> None:
    for kind in ("log_mel", "waveform"):
        captioner = Captioner.load(litert("fp32", kind).bundle.folder, threads=1)
        assert captioner.caption(np.zeros(8_000, np.float32), 16_000).silent
        assert captioner.caption(SOUNDS[0][10_000:10_100], 16_000).beams
