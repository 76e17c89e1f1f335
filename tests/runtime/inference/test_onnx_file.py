"""A graph that keeps data in another file is refused, wherever in the graph it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecap.bundle.bundle import BundleContent, load_bundle, write_bundle
from edgecap.captioner import Captioner
from edgecap.errors import BundleError
from edgecap.inference.onnx_file import names_other_files


def external(name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def model(initializers: list[TensorProto], nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("location", TensorProto.FLOAT, [4])  # the word alone is no reason
    nodes = nodes or [helper.make_node("Add", ["location", "w"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [value], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])], initializers
    )
    return helper.make_model(graph)


def written(path: Path, content: onnx.ModelProto) -> Path:
    path.write_bytes(content.SerializeToString())
    return path


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["w"], value=tensor)


def branch(tensor: TensorProto) -> onnx.NodeProto:
    inner = helper.make_graph([constant(tensor)], "inner", [], [])
    return helper.make_node("If", ["location"], ["y"], then_branch=inner, else_branch=inner)


def test_a_graph_that_holds_its_weights_is_taken(tmp_path: Path) -> None:
    inside = numpy_helper.from_array(np.ones(4, np.float32), "w")
    assert not names_other_files(written(tmp_path / "a.onnx", model([inside])))
    assert not names_other_files(written(tmp_path / "b.onnx", model([], [constant(inside), branch(inside)])))


@pytest.mark.parametrize(
    "where", ["initializer", "constant", "branch", "function", "training", "sparse", "location only"]
)
def test_a_graph_that_names_another_file_is_noticed(tmp_path: Path, where: str) -> None:
    content = model([external()] if where == "initializer" else [])
    if where == "constant":
        content.graph.node.append(constant(external()))
    elif where == "branch":
        content.graph.node.append(branch(external()))
    elif where == "function":
        content.functions.add(name="f").node.append(constant(external()))
    elif where == "training":
        content.training_info.add().algorithm.initializer.append(external())
    elif where == "sparse":
        content.graph.sparse_initializer.add().values.CopyFrom(external())
    elif where == "location only":
        entry = content.graph.initializer.add(name="w")
        entry.external_data.add(key="location", value="weights.bin")
    assert names_other_files(written(tmp_path / "a.onnx", content))


def test_what_cannot_be_read_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"location\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
    assert names_other_files(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"\x10\0\0\0ORTM" + bytes(100))
    assert names_other_files(tmp_path / "b.onnx")


def test_a_bundle_whose_hashes_are_right_is_refused_for_a_file_that_they_do_not_cover(
    tiny_folder: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(tiny_folder)
    graph = onnx.load(bundle.path("decode"))
    graph.graph.initializer.append(external("unused"))
    contents = [
        BundleContent(entry.name, entry.role, graph.SerializeToString() if entry.role == "decode" else path)
        for entry in bundle.manifest.files
        for path in [bundle.folder / entry.name]
    ]
    folder = tmp_path / "bundle"
    write_bundle(folder, bundle.manifest, contents)
    (folder / ".weights.bin").write_bytes(bytes(16))  # hidden files are not listed
    with pytest.raises(BundleError, match=r"decode\.onnx keeps data in another file"):
        Captioner.load(folder)
