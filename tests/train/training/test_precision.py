"""bfloat16 is used where a device computes it, and float32 where it would be imitated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from edgecap_train.training.precision import computes_bf16, mixed_precision


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    computes_bf16.cache_clear()
    yield
    computes_bf16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"neon": True, "arm_bf16": True}, torch.bfloat16),
        ({"neon": True}, torch.float32),
    ],
    ids=["without", "avx512", "arm", "old arm"],
)
def test_a_product_is_made_in_what_the_processor_computes(
    capabilities: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    factor = torch.ones(2, 2)
    with mixed_precision("cpu", bf16=True):
        assert (factor @ factor).dtype == expected
    with mixed_precision("cpu", bf16=False):
        assert (factor @ factor).dtype == torch.float32


def test_this_machine_says_what_it_computes() -> None:
    assert isinstance(computes_bf16("cpu"), bool)
