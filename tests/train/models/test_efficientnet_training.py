"""How EfficientNet learns: gradients of its own depthwise convolution, and blocks that stay as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgecap_train.models.efficientnet import EfficientNet, PaddedConv


def gradients(
    convolution: PaddedConv, x: Tensor, target: Tensor, *, own: bool, bf16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """What comes out, and the gradients of `x` and the weights; by PyTorch's convolution unless `own`."""
    x = x.clone().requires_grad_()
    convolution.weight.grad = None
    padded = x if convolution.ends is None else functional.pad(x, convolution.ends)
    stride, groups = convolution.stride, convolution.groups
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = (
            convolution(x)
            if own
            else functional.conv2d(padded, convolution.weight, None, stride, convolution.padding, 1, groups)
        )
    (y.float() * target).sum().backward()
    assert x.grad is not None
    assert convolution.weight.grad is not None
    return y.float(), x.grad, convolution.weight.grad


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, (1, 1)), (5, 1, (2, 2)), (3, 2, (0, 1)), (5, 2, (2, 2))]
)
@pytest.mark.parametrize("bf16", [False, True])
def test_a_depthwise_convolution_learns_with_the_gradients_of_pytorchs(
    kernel: int, stride: int, padding: tuple[int, int], bf16: bool
) -> None:
    torch.manual_seed(0)
    convolution = PaddedConv(24, 24, kernel, stride=stride, groups=24, padding=padding).train()
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(3, 24, 10, 14)
    target = torch.randn_like(convolution(x))
    learnt = gradients(convolution, x, target, own=True, bf16=bf16)
    exact = gradients(convolution, x, target, own=False, bf16=False)
    for name, one, other in zip(("output", "of the input", "of the weights"), learnt, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= (0.01 if bf16 else 1e-6) * other.norm(), name


def test_frozen_blocks_keep_weights_and_statistics_and_the_others_learn() -> None:
    torch.manual_seed(0)
    encoder = EfficientNet()
    encoder.configure(frozen_blocks=2, drop_connect=0.0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.train()
    for _ in range(2):
        encoder(torch.randn(2, 64, 64)).pow(2).mean().backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    frozen = ("stem.", "stem_norm.", "blocks.0.", "blocks.1.")
    assert {name for name in before if name.startswith(frozen)}
    assert changed == {name for name in before if not name.startswith(frozen)}


def test_nothing_is_frozen_unless_a_recipe_says_so() -> None:
    encoder = EfficientNet()
    encoder.configure(frozen_blocks=0, drop_connect=0.0)
    assert all(parameter.requires_grad for parameter in encoder.train().parameters())
    assert all(module.training for module in encoder.modules())
