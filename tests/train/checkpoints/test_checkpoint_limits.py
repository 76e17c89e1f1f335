"""A checkpoint of edgecap's own form cannot ask for a network without measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgecap.errors import CheckpointError
from edgecap_train.checkpoints.checkpoint import FORMAT_VERSION, METADATA_KEY, load_checkpoint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"layers": 10**6}, r"layers must be a whole number from 1 to 64"),
        ({"d_model": 10**9}, r"d_model must be a whole number from 1 to 16384"),
        ({"vocabulary_size": 10**12}, r"vocabulary_size must be a whole number from 1 to 200000"),
        ({"max_positions": 10**9}, r"max_positions must be"),
        ({"layers": 64, "d_model": 8192}, r"the network would hold \d+ numbers, at most 500000000"),
    ],
)
def test_a_shape_without_measure_is_refused_before_it_is_built(
    tmp_path: Path, config: dict[str, int], words: str
) -> None:
    document = {
        "format_version": FORMAT_VERSION,
        "config": {"encoder": "yamnet", "front_end": {}, "vocabulary_size": 4, **config},
        "vocabulary": ["<pad>", "<start>", "<end>", "<unk>"],
        "metadata": {},
    }
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: json.dumps(document)})
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)
