#!/usr/bin/env bash
# PyTorch's quantiser for XNNPACK makes floats of integers: a model with `index + 1` no longer runs when it is prepared.
#
# Expected: preparing a model for quantisation leaves arithmetic with integers, such as that of row numbers, as it is.
# Instead: `XNNPACKQuantizer` turns each number that an addition or multiplication has as an argument into a float32
# tensor, whatever the other argument is. `numbers + 1` of int64 is then float32, and the next operator that wants row
# numbers refuses it: in `prepare_pt2e`'s model, in an operator far from any that is quantised.
# Seen: executorch 1.4.1, torchao 0.18.0, torch 2.13.0, Linux x86-64. Where pip finds no CPU build of torch it installs
# one for CUDA, of several gigabytes.
# What to do: keep integers that are added or multiplied as buffers of the model; edgecap does.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 torchao==0.18.0 executorch==1.4.1
# stderr is the packages' warnings about parts of themselves
OMP_NUM_THREADS=1 venv/bin/python - 2>messages.txt <<'PYTHON' || { tail -n 5 messages.txt >&2; exit 1; }
import importlib.metadata
import sys

import torch
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

print(*(f"{name} {importlib.metadata.version(name)}" for name in ("executorch", "torchao", "torch")), sep=", ")


class NextRow(torch.nn.Module):
    """A product with the row behind the one that is asked for."""

    def __init__(self, one: torch.Tensor | int) -> None:
        super().__init__()
        self.product = torch.nn.Linear(4, 4)
        self.register_buffer("table", torch.randn(8, 4))
        if isinstance(one, int):
            self.one = one
        else:
            self.register_buffer("one", one)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.product(self.table.index_select(0, numbers + self.one))


given = (torch.tensor([2]),)
seen = {}
for name, one in (("a number", 1), ("a tensor", torch.ones(1, dtype=torch.int64))):
    exported = torch.export.export(NextRow(one).eval(), given).module()
    exported(*given)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True))
    prepared = prepare_pt2e(exported, quantizer)
    try:
        prepared(*given)
        seen[name] = "runs"
    except (RuntimeError, IndexError) as error:
        seen[name] = str(error).splitlines()[0]
    print(f"one is {name}: {seen[name]}")
if seen["a tensor"] != "runs":
    sys.exit("CHANGED: a tensor does not help")
if seen["a number"] == "runs":
    sys.exit("CHANGED: integers stay integers")
print("as described: preparing the model made floats of its row numbers")
PYTHON
