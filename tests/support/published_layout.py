"""The published students' files, made for tests: names and shapes counted from the architecture alone,
without edgecap's own tables, so that a wrong table fails."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

SHARED = Path(os.environ.get("EDGECAP_SHARED", "/nonexistent"))
needs_shared = pytest.mark.skipif(
    not (SHARED / "parity").is_dir(), reason="EDGECAP_SHARED names no folder with the parity fixtures"
)

EFF = "model.model.encoder.backbone.eff_net."
DEC = "model.model.decoder."
# (blocks, kernel, expansion, channels out): EfficientNet-B2 as in the paper's table, scaled by hand
STAGES = ((2, 3, 1, 16), (3, 3, 6, 24), (3, 5, 6, 48), (4, 3, 6, 88), (4, 5, 6, 120), (5, 5, 6, 208), (2, 3, 6, 352))


def published_shapes(vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of all 554 learned tensors, in the order of the files."""
    shapes: dict[str, tuple[int, ...]] = {"model.logit_scale": ()}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes[EFF + "_conv_stem.weight"] = (32, 1, 3, 3)
    norm(EFF + "_bn0", 32)
    block, inputs = 0, 32
    for count, kernel, expansion, outputs in STAGES:
        for _ in range(count):
            name, wide, squeezed = f"{EFF}_blocks.{block}.", inputs * expansion, inputs // 4
            if expansion > 1:
                shapes[name + "_expand_conv.weight"] = (wide, inputs, 1, 1)
                norm(name + "_bn0", wide)
            shapes[name + "_depthwise_conv.weight"] = (wide, 1, kernel, kernel)
            norm(name + "_bn1", wide)
            shapes[name + "_se_reduce.weight"] = (squeezed, wide, 1, 1)
            shapes[name + "_se_reduce.bias"] = (squeezed,)
            shapes[name + "_se_expand.weight"] = (wide, squeezed, 1, 1)
            shapes[name + "_se_expand.bias"] = (wide,)
            shapes[name + "_project_conv.weight"] = (outputs, wide, 1, 1)
            norm(name + "_bn2", outputs)
            block, inputs = block + 1, outputs
    shapes[EFF + "_conv_head.weight"] = (1408, 352, 1, 1)
    norm(EFF + "_bn1", 1408)
    shapes[DEC + "word_embedding.weight"] = (vocabulary_size, 256)
    shapes[DEC + "pos_encoder.pe"] = (100, 1, 256)
    for layer in range(2):
        name = f"{DEC}model.layers.{layer}."
        for attention in ("self_attn.", "multihead_attn."):
            shapes[name + attention + "in_proj_weight"] = (768, 256)
            shapes[name + attention + "in_proj_bias"] = (768,)
            shapes[name + attention + "out_proj.weight"] = (256, 256)
            shapes[name + attention + "out_proj.bias"] = (256,)
        for linear, shape in (("linear1.", (1024, 256)), ("linear2.", (256, 1024))):
            shapes[name + linear + "weight"] = shape
            shapes[name + linear + "bias"] = shape[:1]
        for part in ("norm1.", "norm2.", "norm3."):
            shapes[name + part + "weight"] = shapes[name + part + "bias"] = (256,)
    shapes[DEC + "classifier.weight"] = (vocabulary_size, 256)
    shapes[DEC + "attn_proj.0.weight"] = (256, 1408)
    for name in ("attn_proj.0.bias", "attn_proj.3.weight", "attn_proj.3.bias"):
        shapes[DEC + name] = (256,)
    for head, width in (("model.stdnt_proj", 1408), ("model.tchr_proj", 768)):
        shapes[head + ".weight"], shapes[head + ".bias"] = (1024, width), (1024,)
    return shapes


def random_checkpoint(vocabulary_size: int = 60, seed: int = 7) -> dict[str, torch.Tensor]:
    """A published checkpoint with random values under which activations stay of order one."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in published_shapes(vocabulary_size).items():
        if name.endswith("num_batches_tracked"):
            value = np.zeros(shape, np.int64)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            value = rng.uniform(0.8, 1.2, shape).astype(np.float32)
        elif len(shape) < 2:
            value = rng.normal(0, 0.05, shape).astype(np.float32)
        elif name.endswith(("word_embedding.weight", "pos_encoder.pe")):
            value = rng.normal(0, 0.06 if "word" in name else 0.5, shape).astype(np.float32)
        else:
            value = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        tensors[name] = torch.from_numpy(np.asarray(value))
    # decibels are two orders larger than what follows; a trained stem's BatchNorm has such statistics
    tensors[EFF + "_bn0.running_var"] *= 1000.0
    tensors[DEC + "classifier.weight"] = tensors[DEC + "word_embedding.weight"].clone()
    return tensors


def words(count: int) -> list[str]:
    """A vocabulary of `count` words with the published special tokens."""
    return ["<pad>", "<start>", "<end>", "<unk>", *(f"word{index}" for index in range(4, count))]


def write_vocabulary(path: Path, count: int) -> Path:
    """A word-to-id JSON file."""
    path.write_text(json.dumps({word: index for index, word in enumerate(words(count))}))
    return path


def write_checkpoint(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A `.safetensors` file."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def seeded_checkpoint(path: Path, seed: int) -> Path:
    """The checkpoint that the parity fixtures were computed with (needs the shared folder)."""
    maker = runpy.run_path(str(SHARED / "parity" / "make_checkpoint.py"))
    return write_checkpoint(path, {name: torch.from_numpy(value) for name, value in maker["checkpoint"](seed).items()})
