"""The graphs of a page: which bundle gets others than its own, and that they caption."""

from __future__ import annotations

import json
from pathlib import Path

import onnx

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap_export.recipes import render_recipe
from edgecap_export.web.graphs import INT8_WEB, page_bundle

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_the_default_model_gets_graphs_that_are_fast_in_a_browser() -> None:
    default = load_bundle(find_model(None))
    with page_bundle(default) as page:
        assert json.loads(page.manifest.provenance.details["recipe"]) == json.loads(render_recipe(INT8_WEB))
        kinds = [node.op_type for node in onnx.load(page.path("encode")).graph.node]
        # the stem is in float in both, and the last 1x1 convolution is a product
        assert (kinds.count("Conv"), kinds.count("QLinearConv")) == (10, 16)
        decoders = [onnx.load(bundle.path("decode")).graph for bundle in (page, default)]  # names of values may differ
        nodes = [[node.op_type for node in graph.node] for graph in decoders]
        assert nodes[0] == nodes[1]
        numbers = [sorted(tensor.raw_data for tensor in graph.initializer) for graph in decoders]
        assert numbers[0] == numbers[1]
        captions = Captioner.load(page.folder, threads=1).caption_file(EXAMPLES / "dog.ogg")
        assert "dog" in next(iter(captions)).text


def test_a_bundle_without_weights_keeps_its_graphs(tiny_folder: Path) -> None:
    bundle = load_bundle(tiny_folder)
    with page_bundle(bundle) as page:
        assert page is bundle
