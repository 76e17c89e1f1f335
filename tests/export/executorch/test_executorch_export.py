"""A student becomes one ExecuTorch program that says what PyTorch says, nearly all of it run by XNNPACK."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgecap.bundle.manifest import Precision
from edgecap.captioner import Captioner
from edgecap.errors import ToolchainError
from edgecap.inference.session import open_session
from edgecap_export.executorch import lowering as executorch_lowering
from edgecap_export.executorch.half import half_weights
from edgecap_export.executorch.lowering import ExecuTorchLowering
from edgecap_export.executorch.program import quiet_toolchain
from edgecap_export.executorch.quantise import SmallTable, quantised
from edgecap_export.executorch.rewrites import REWRITES, fold_padding, rewritten
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import Tolerances, verify_session
from edgecap_export.recipes import INT8
from support.exports.exported import PRECISIONS, SOUNDS, Export, Exported, request
from support.small_student import FRONT_END, WINDOW, small_student

Make = Callable[[Precision], Exported]


@pytest.fixture
def made(exported: Export) -> Make:
    """Exports the small student for ExecuTorch in a precision, once."""
    return functools.partial(exported, "executorch")


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-4), ("fp16", 2e-2), ("int8", 0.3)])
def test_every_output_is_pytorchs_within_the_precision(made: Make, precision: Precision, tolerance: float) -> None:
    session = open_session(made(precision).bundle, 1)
    differences = verify_session(request().student, session, WINDOW, Tolerances(tolerance, tolerance))
    if precision != "fp32":  # and it really is another precision
        assert max(difference.largest for difference in differences) > 1e-6


def test_the_waveform_itself_may_go_in(exported: Export) -> None:
    bundle = exported("executorch", "fp32", "waveform").bundle
    verify_session(request().student, open_session(bundle, 1), WINDOW, Tolerances(), waveform=True)


def test_captions_in_fp32_are_pytorchs_token_for_token(made: Make) -> None:
    bundle = made("fp32").bundle
    ours, theirs = Captioner.load(bundle.folder, threads=1), Captioner(bundle, TorchSession(request().student))
    for sound in SOUNDS:
        captions = [captioner.caption(sound, FRONT_END.sample_rate) for captioner in (ours, theirs)]
        assert captions[0].beams[0].tokens == captions[1].beams[0].tokens


def test_a_bundle_is_one_program_of_two_methods(made: Make) -> None:
    export = made("fp32")
    assert [(file.name, file.role) for file in export.bundle.manifest.programs] == [("model.pte", "program")]
    assert export.lowered.beams == export.bundle.manifest.decoder.beams == 3


def test_smaller_precisions_make_smaller_programs(made: Make) -> None:
    sizes = {precision: len(made(precision).program) for precision in PRECISIONS}
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_but_tables_masks_and_the_last_logarithm_is_delegated(made: Make, precision: Precision) -> None:
    lowered = made(precision).lowered
    small = {"arange", "scalar_tensor", "eq", "le", "lt", "where", "view_copy", "dim_order_ops"}  # of positions, masks
    small |= {"embedding", "index_select", "_log_softmax"}
    assert {name.split(": ")[1] for name in lowered.not_delegated} <= small
    left, total = sum(lowered.not_delegated.values()), sum(lowered.operators.values())
    assert lowered.delegated is not None
    assert lowered.delegated == 1 - left / total > 0.85


def test_convolutions_and_products_of_int8_work_on_bytes(made: Make) -> None:
    lowered = made("int8").lowered
    assert lowered.operators["encode: convolution (int8)"] >= 10
    assert set(lowered.stays_float) == {"conv2d"}  # the stem
    assert "plain" in lowered.stays_float["conv2d"]
    assert "decode: linear (float)" not in lowered.operators
    assert not any("int8" in name for precision in ("fp32", "fp16") for name in made(precision).lowered.operators)


def test_lowering_leaves_the_student_as_it_was(made: Make) -> None:
    made("int8")
    student, same = request().student, small_student(1).state_dict()
    assert all(torch.equal(same[name], tensor) for name, tensor in student.state_dict().items())
    assert type(student.decoder.embedding) is nn.Embedding


def test_nothing_of_this_machine_is_in_a_program(made: Make) -> None:
    data = made("fp32").program
    assert str(Path(__file__).parents[3]).encode() not in data
    assert b".py" not in data


def test_what_the_toolchain_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(programs: object, *, searches: bool) -> None:
        raise RuntimeError("no such operator\nand forty lines more")

    monkeypatch.setattr(executorch_lowering, "build_program", refuse)
    with pytest.raises(ToolchainError, match=r"refuses the model \(no such operator\); nothing was written$"):
        ExecuTorchLowering().lower(request())


def test_the_serialiser_is_as_before_after_half_weights() -> None:
    from executorch.backends.xnnpack.operators import node_visitor

    before = node_visitor.NodeVisitor.define_tensor, node_visitor.get_param_tensor

    def fail() -> None:
        with half_weights():
            assert node_visitor.NodeVisitor.define_tensor is not before[0]
            raise RuntimeError("a lowering that fails")

    with pytest.raises(RuntimeError, match="that fails"):
        fail()
    assert (node_visitor.NodeVisitor.define_tensor, node_visitor.get_param_tensor) == before


@pytest.mark.parametrize(("int8", "error"), [(True, 1 / 127 / 2), (False, 2**-11)])
def test_rows_of_a_small_table_are_the_tables_within_their_precision(int8: bool, error: float) -> None:
    weight = nn.Parameter(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)))
    rows = SmallTable(weight, int8=int8)(torch.tensor([3, 0]))
    largest = weight[[3, 0]].abs().amax(1, keepdim=True)
    assert ((rows - weight[[3, 0]]).abs() <= error * largest * 1.001).all()


class Everything(nn.Module):
    """Each operator that is rewritten, once."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        first, second = self.norm(x).chunk(2, dim=-1)
        mixed = torch.where(mask, first, second)
        picked = torch.stack([mixed.select(1, -1), second.select(1, 0)], dim=1).unsqueeze(-2)
        image = picked.transpose(2, 3)
        pooled = nn.functional.adaptive_avg_pool2d(image, 1)
        heads = torch.matmul(x.unsqueeze(0), x.transpose(1, 2)[None])
        return image.mean(dim=2), image.mean(dim=3, keepdim=True), pooled, heads, x.sum(dim=1)


def test_rewritten_operators_mean_the_same_and_are_gone() -> None:
    inputs = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([True, False, True])
    module = Everything().eval()
    with quiet_toolchain():
        before = torch.export.export(module, inputs)
        after = rewritten(before)
    for ours, theirs in zip(after.module()(*inputs), module(*inputs), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    used = {node.target for node in before.graph.nodes} & set(REWRITES)
    left = {node.target for node in after.graph.nodes} & set(REWRITES)
    assert len(used) >= 9
    assert left <= {torch.ops.aten.mean.dim}  # which XNNPACK takes over whole images
    assert all(node.args[1] == [2, 3] for node in after.graph.nodes if node.target == torch.ops.aten.mean.dim)


@pytest.mark.parametrize(("sides", "left"), [((1, 1, 1, 1), 0), ((2, 2, 1, 1), 0), ((0, 1, 0, 1), 1)])
def test_padding_that_is_the_same_at_both_ends_becomes_the_convolutions_own(
    sides: tuple[int, int, int, int], left: int
) -> None:
    module = nn.Sequential(nn.ZeroPad2d(sides), nn.Conv2d(2, 3, 3, stride=2)).eval()
    inputs = (torch.randn(1, 2, 9, 8),)
    program = torch.export.export(module, inputs)
    fold_padding(program)
    assert sum(node.target == torch.ops.aten.pad.default for node in program.graph.nodes) == left
    assert np.allclose(program.module()(*inputs).detach(), module(*inputs).detach(), atol=1e-6)


def test_a_layer_that_the_quantiser_leaves_in_float_ends_the_export() -> None:
    """PT2E's quantiser for XNNPACK takes no dynamic range for depthwise convolutions and says nothing of it."""
    maps = torch.zeros(1, 4, 8, 8)
    recipe = replace(INT8, convolutions=(), dynamic=("depthwise",))
    program = torch.export.export(nn.Conv2d(4, 4, 3, groups=4).eval(), (maps,))
    with quiet_toolchain(), pytest.raises(ToolchainError, match=r"left conv2d in float, which the recipe int8.* wants"):
        quantised(program, [(maps,)], recipe)
    quantised(program, [(maps,)], replace(recipe, keep=("conv2d",)), stays={"conv2d": "kept"})
