"""ExecuTorch runs a bundle like any other runtime does, and says in one line why one does not run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgecap.bundle.bundle import Bundle, BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.bundle.manifest import (
    FORMAT_VERSION,
    DecoderSpec,
    EncoderSpec,
    Licence,
    Manifest,
    Provenance,
    SilenceSpec,
    VocabularySpec,
)
from edgecap.errors import BundleError, MissingDependencyError
from edgecap.inference.executorch_session import import_executorch
from edgecap.inference.session import open_session
from edgecap_export.executorch.program import build_program, quiet_toolchain
from support.small_student import FRONT_END, SIZE, WINDOW

LAYERS, HEADS, WIDTH, TOKENS, FRAMES, BEAMS = 1, 2, 3, 8, 4, 3


class Encode(torch.nn.Module):
    """Keys that know the sound's mean, values that know the length."""

    def forward(self, log_mel: Tensor, memory_length: Tensor) -> tuple[Tensor, ...]:
        mean = log_mel.mean() * torch.ones(LAYERS, HEADS, FRAMES, WIDTH)
        return mean, mean * 0 + memory_length.float(), mean.reshape(1, -1)[:, :5]


class Decode(torch.nn.Module):
    """A word's log-probability is its number times what the row's cache holds; the cache counts tokens by place."""

    def forward(  # noqa: PLR0917
        self,
        tokens: Tensor,
        position: Tensor,
        memory_length: Tensor,
        self_keys: Tensor,
        self_values: Tensor,
        cross_keys: Tensor,
        cross_values: Tensor,
    ) -> tuple[Tensor, ...]:
        here = (torch.arange(TOKENS) == position).float().reshape(1, 1, 1, TOKENS, 1)
        keys = self_keys * (1.0 - here) + here * tokens.float().reshape(1, BEAMS, 1, 1, 1)
        held = keys.sum((0, 2, 3, 4)).reshape(BEAMS, 1) + cross_keys.mean() + memory_length.float()
        return held * torch.arange(SIZE).float(), keys, self_values + cross_values.mean()


def inputs() -> dict[str, tuple[Tensor, ...]]:
    cache, cross = (LAYERS, BEAMS, HEADS, TOKENS, WIDTH), (LAYERS, HEADS, FRAMES, WIDTH)
    return {
        "encode": (torch.zeros(1, FRONT_END.n_mels, WINDOW), torch.tensor([4])),
        "decode": (
            torch.ones(BEAMS, dtype=torch.int64),
            torch.tensor([0]),
            torch.tensor([4]),
            torch.zeros(cache),
            torch.zeros(cache),
            torch.zeros(cross),
            torch.zeros(cross),
        ),
    }


def program(**modules: torch.nn.Module) -> bytes:
    with quiet_toolchain():
        methods = {name: torch.export.export(module, inputs()[name]) for name, module in modules.items()}
        return build_program(methods).content


def manifest() -> Manifest:
    return Manifest(
        format="edgecap-bundle",
        format_version=FORMAT_VERSION,
        name="small",
        runtime="executorch",
        precision="fp32",
        front_end=FRONT_END,
        encoder=EncoderSpec(
            architecture="small", window_frames=WINDOW, frames_per_memory=32, memory_frames=FRAMES, embedding_dim=5
        ),
        decoder=DecoderSpec(layers=LAYERS, heads=HEADS, head_dim=WIDTH, max_tokens=TOKENS, beams=BEAMS),
        vocabulary=VocabularySpec(size=SIZE),
        silence=SilenceSpec(),
        files=[],
        licence=Licence(name="CC0-1.0"),
        provenance=Provenance(source="a test", created_by="a test"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("executorch") / "small", program(encode=Encode(), decode=Decode())).folder


def write(folder: Path, data: bytes, stated: Manifest | None = None) -> Bundle:
    words = [f"w{number}" for number in range(SIZE)]
    return write_bundle(
        folder, stated or manifest(), [BundleContent("model.pte", "program", data), vocabulary_content(words)]
    )


def test_a_window_is_encoded_and_its_length_kept(made: Path) -> None:
    encoded = open_session(load_bundle(made), 1).encode(np.full((FRONT_END.n_mels, WINDOW), 2.0, np.float32), 3)
    assert encoded.cross_keys.shape == (LAYERS, HEADS, FRAMES, WIDTH)
    assert np.allclose(encoded.cross_keys, 2.0)
    assert np.allclose(encoded.cross_values, 3.0)
    assert encoded.clip_embedding.shape == (5,)
    assert encoded.memory_length == 3


@pytest.mark.parametrize("beam", [1, 2, 3])
def test_the_cache_goes_with_its_row_at_every_width_of_the_beam(made: Path, beam: int) -> None:
    session = open_session(load_bundle(made), 1)
    encoded = session.encode(np.zeros((FRONT_END.n_mels, WINDOW), np.float32), 1)
    step = session.decoder(encoded, beam)
    tokens = np.arange(5, 5 + beam)
    first = np.array(step(tokens, 0, np.zeros(beam, np.int64)))
    assert first.shape == (beam, SIZE)
    assert np.allclose(first[:, 1], tokens * HEADS * WIDTH + 1)
    parents = np.full(beam, beam - 1)
    second = np.array(step(np.zeros(beam, np.int64), 1, parents))
    assert np.allclose(second[:, 1], tokens[-1] * HEADS * WIDTH + 1)


def test_what_is_given_back_is_not_overwritten_by_the_next_call(made: Path) -> None:
    session = open_session(load_bundle(made), 1)
    loud = session.encode(np.ones((FRONT_END.n_mels, WINDOW), np.float32), 1)
    session.encode(np.zeros((FRONT_END.n_mels, WINDOW), np.float32), 1)
    assert np.allclose(loud.cross_keys, 1.0)


def test_sounds_that_may_not_be_written_to_are_taken(made: Path) -> None:
    sound = np.ones((FRONT_END.n_mels, WINDOW), np.float32)
    sound.setflags(write=False)
    assert np.allclose(open_session(load_bundle(made), 1).encode(sound, 1).cross_keys, 1.0)


def test_more_beams_than_the_program_has_are_refused(made: Path) -> None:
    session = open_session(load_bundle(made), 1)
    encoded = session.encode(np.zeros((FRONT_END.n_mels, WINDOW), np.float32), 1)
    with pytest.raises(BundleError, match="at most 3 beams, not 4"):
        session.decoder(encoded, 4)


def test_loading_writes_nothing_to_the_terminal(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_session(load_bundle(made), 1)
    assert capfd.readouterr() == ("", "")


def test_the_first_session_of_a_process_says_how_many_threads_there_are(made: Path) -> None:
    library = import_executorch()[1]
    first = open_session(load_bundle(made), 2)
    assert library._threadpool_get_thread_count() == 2
    open_session(load_bundle(made), 1)  # programs that are loaded hold on to the pool
    assert library._threadpool_get_thread_count() == 2
    del first
    open_session(load_bundle(made), 1)
    assert library._threadpool_get_thread_count() == 1


def test_without_executorch_the_error_names_the_extra(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "executorch.extension.pybindings", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "\.\[executorch\]"'):
        open_session(load_bundle(made), 1)


def test_a_program_without_a_method_is_refused_by_its_name(tmp_path: Path) -> None:
    bundle = write(tmp_path / "half", program(encode=Encode()))
    with pytest.raises(BundleError, match="has no method 'decode'"):
        open_session(bundle, 1)


def test_a_file_without_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not load in ExecuTorch"):
        open_session(write(tmp_path / "noise", bytes(range(256)) * 16), 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"encoder": replace(manifest().encoder, memory_frames=5)}, r"\(encode\): output 'cross_keys' is float32"),
        ({"decoder": replace(manifest().decoder, max_tokens=9)}, r"\(decode\): input 'self_keys' is float32"),
        ({"encoder": replace(manifest().encoder, input="waveform")}, "2 inputs, and the manifest requires 3"),
    ],
)
def test_a_program_that_is_not_as_its_manifest_says_is_refused(
    made: Path, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    bundle = write(tmp_path / "other", (made / "model.pte").read_bytes(), replace(manifest(), **changed))
    with pytest.raises(BundleError, match=message):
        open_session(bundle, 1)
