"""A student becomes one ExecuTorch program that says what PyTorch says, nearly all of it run by XNNPACK."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgecap.bundle.bundle import Bundle, write_bundle
from edgecap.bundle.manifest import Licence, Provenance
from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError
from edgecap.inference.session import open_session
from edgecap_export.bundle.bundles import common_contents, manifest_of
from edgecap_export.calibration import window_of
from edgecap_export.executorch import runtime as executorch_runtime
from edgecap_export.executorch.half import half_weights
from edgecap_export.executorch.lowering import quiet_toolchain
from edgecap_export.executorch.quantise import SmallTable
from edgecap_export.executorch.rewrites import REWRITES, fold_padding, rewritten
from edgecap_export.executorch.runtime import RUNTIME
from edgecap_export.graphs.onnx_export import OnnxGraphs, onnx_graphs
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import Tolerances, sounds, verify_session
from edgecap_export.quantisation.quantise import simplified
from edgecap_export.quantisation.ranges import measure_ranges, weights_digest
from edgecap_export.runtimes import Calibration, Lowered, Precision, Work
from edgecap_train.models.student import Student
from support.small_student import FRONT_END, SIZE, WINDOW, small_student

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
SOUNDS = tuple(sounds(FRONT_END.sample_rate, (WINDOW - 1) * FRONT_END.hop_length / FRONT_END.sample_rate))


@pytest.fixture(scope="module")
def student() -> Student:
    return small_student(1)


@pytest.fixture(scope="module")
def work(student: Student) -> Work:
    graphs: OnnxGraphs = onnx_graphs(student, WINDOW)
    log_mels = tuple(window_of(sound * gain, FRONT_END, WINDOW) for sound in SOUNDS for gain in (1.0, 0.1))
    ranges = measure_ranges(
        simplified(onnx.load_from_string(graphs.encode)),
        log_mels,
        clips=len(log_mels),
        weights=weights_digest(student.state_dict()),
        percentile=99.99,
    )
    return Work(
        student=student,
        window=WINDOW,
        recipe=RUNTIME.recipe("fp32", "yamnet"),
        float_graphs=graphs,
        calibration=Calibration(log_mels, ranges),
    )


Make = Callable[[Precision], tuple[Lowered, Bundle]]


@pytest.fixture(scope="module")
def made(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Lowers to a precision, once, and writes the bundle."""

    @functools.cache
    def make(precision: Precision) -> tuple[Lowered, Bundle]:
        lowered = RUNTIME.lower(replace(work, recipe=RUNTIME.recipe(precision, "yamnet")))
        manifest = manifest_of(
            work.student,
            name="small",
            window=WINDOW,
            precision=precision,
            licence=Licence(name="CC0-1.0"),
            provenance=Provenance(source="a test", created_by="a test"),
            runtime="executorch",
            beams=lowered.beams,
        )
        contents = [*lowered.files, *common_contents(tuple(f"w{number}" for number in range(SIZE)), None)]
        return lowered, write_bundle(tmp_path_factory.mktemp("executorch") / precision, manifest, contents)

    return make


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-4), ("fp16", 2e-2), ("int8", 0.3)])
def test_every_output_is_pytorchs_within_the_precision(made, student, precision, tolerance):
    session = open_session(made(precision)[1], 1)
    found = verify_session(student, session, WINDOW, Tolerances(tolerance, tolerance))
    if precision != "fp32":  # and it really is another precision
        assert max(difference.largest for difference in found) > 1e-6


def test_the_waveform_itself_may_go_in(work, student, tmp_path):
    lowered = RUNTIME.lower(replace(work, encoder_input="waveform"))
    manifest = manifest_of(
        student,
        name="small",
        window=WINDOW,
        precision="fp32",
        licence=Licence(name="CC0-1.0"),
        beams=lowered.beams,
        provenance=Provenance(source="a test", created_by="a test"),
        runtime="executorch",
        encoder_input="waveform",
    )
    contents = [*lowered.files, *common_contents(tuple(f"w{number}" for number in range(SIZE)), None)]
    session = open_session(write_bundle(tmp_path / "waveform", manifest, contents), 1)
    verify_session(student, session, WINDOW, Tolerances(), waveform=True)


def test_captions_in_fp32_are_pytorchs_token_for_token(made, student):
    bundle = made("fp32")[1]
    ours, theirs = Captioner.load(bundle.folder, threads=1), Captioner(bundle, TorchSession(student))
    for sound in SOUNDS:
        said = [captioner.caption(sound, FRONT_END.sample_rate) for captioner in (ours, theirs)]
        assert said[0].text == said[1].text


def test_a_bundle_is_one_program_of_two_methods(made):
    lowered, bundle = made("fp32")
    assert [(file.name, file.role) for file in bundle.manifest.programs] == [("model.pte", "program")]
    assert lowered.beams == bundle.manifest.decoder.beams == 3


def test_smaller_precisions_make_smaller_programs(made):
    sizes = {precision: len(made(precision)[0].files[0].data) for precision in PRECISIONS}
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_but_tables_masks_and_the_last_logarithm_is_delegated(made, precision):
    lowered, _ = made(precision)
    small = {"arange", "scalar_tensor", "eq", "le", "lt", "where", "view_copy", "dim_order_ops"}  # of positions, masks
    small |= {"embedding", "index_select", "_log_softmax"}
    assert {name.split(": ")[1] for name in lowered.not_delegated} <= small
    left, total = sum(lowered.not_delegated.values()), sum(lowered.operators.values())
    assert lowered.delegated == 1 - left / total > 0.85


def test_convolutions_and_products_of_int8_work_on_bytes(made):
    lowered, _ = made("int8")
    assert lowered.operators["encode: convolution (int8)"] >= 10
    assert set(lowered.stays_float) == {"conv2d"}  # the stem
    assert "plain" in lowered.stays_float["conv2d"]
    assert "decode: linear (float)" not in lowered.operators
    assert not any("int8" in name for precision in ("fp32", "fp16") for name in made(precision)[0].operators)


def test_lowering_leaves_the_student_as_it_was(made, work, student):
    before = copy.deepcopy(student.state_dict())
    made("int8")
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    assert type(student.decoder.embedding) is nn.Embedding


def test_nothing_of_this_machine_is_in_a_program(made):
    data = bytes(made("fp32")[0].files[0].data)
    assert str(Path(__file__).parents[3]).encode() not in data
    assert b".py" not in data


def test_what_the_toolchain_refuses_is_one_line(work, monkeypatch):
    def refuse(programs):
        raise RuntimeError("no such operator\nand forty lines more")

    monkeypatch.setattr(executorch_runtime, "lowered", refuse)
    with pytest.raises(EdgecapError, match=r"refuses the model \(no such operator\); nothing was written$"):
        RUNTIME.lower(work)


def test_the_serialiser_is_as_before_after_half_weights():
    from executorch.backends.xnnpack.operators import node_visitor

    before = node_visitor.NodeVisitor.define_tensor, node_visitor.get_param_tensor

    def fail() -> None:
        with half_weights():
            assert node_visitor.NodeVisitor.define_tensor is not before[0]
            raise RuntimeError("a lowering that fails")

    with pytest.raises(RuntimeError, match="that fails"):
        fail()
    assert (node_visitor.NodeVisitor.define_tensor, node_visitor.get_param_tensor) == before


@pytest.mark.parametrize(("whole", "error"), [(True, 1 / 127 / 2), (False, 2**-11)])
def test_rows_of_a_small_table_are_the_tables_within_their_precision(whole, error):
    weight = nn.Parameter(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)))
    rows = SmallTable(weight, whole=whole)(torch.tensor([3, 0]))
    largest = weight[[3, 0]].abs().amax(1, keepdim=True)
    assert ((rows - weight[[3, 0]]).abs() <= error * largest * 1.001).all()


class Everything(nn.Module):
    """Each operator that is rewritten, once."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        nn.init.normal_(self.norm.weight)

    def forward(self, x, mask):
        first, second = self.norm(x).chunk(2, dim=-1)
        mixed = torch.where(mask, first, second)
        picked = torch.stack([mixed.select(1, -1), second.select(1, 0)], dim=1).unsqueeze(-2)
        image = picked.transpose(2, 3)
        pooled = nn.functional.adaptive_avg_pool2d(image, 1)
        heads = torch.matmul(x.unsqueeze(0), x.transpose(1, 2)[None])
        return image.mean(dim=2), image.mean(dim=3, keepdim=True), pooled, heads, x.sum(dim=1)


def test_rewritten_operators_mean_the_same_and_are_gone():
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
def test_padding_that_is_the_same_at_both_ends_becomes_the_convolutions_own(sides, left):
    module = nn.Sequential(nn.ZeroPad2d(sides), nn.Conv2d(2, 3, 3, stride=2)).eval()
    inputs = (torch.randn(1, 2, 9, 8),)
    program = torch.export.export(module, inputs)
    fold_padding(program)
    assert sum(node.target == torch.ops.aten.pad.default for node in program.graph.nodes) == left
    assert np.allclose(program.module()(*inputs).detach(), module(*inputs).detach(), atol=1e-6)
