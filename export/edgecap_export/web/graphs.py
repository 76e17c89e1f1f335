"""The int8 graphs of a page: the bundle's, with the first convolutions in float again.

In WebAssembly the rounding of an int8 convolution's answers costs more than its products save while maps are large and
channels few, and depthwise convolutions gain nothing. Measured with onnxruntime-web 1.30 under Node.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from edgecap.bundle.bundle import Bundle
from edgecap.errors import MissingDependencyError
from edgecap_export.recipes import INT8, render_recipe

INT8_WEB = replace(INT8, name=f"{INT8.name}-web", float_first=9)
"""YAMNet, least of 8 or 10 runs: 52 ms of the processor, about 54 with 5 to 7 or 10 to 12, 74 with none, fp32 72."""


@contextmanager
def page_bundle(bundle: Bundle) -> Iterator[Bundle]:
    """The bundle with a page's graphs, in a temporary folder.

    The bundle itself where another recipe made it, or it lacks float weights or ranges. Raises BundleError for ranges
    of other weights, MissingDependencyError without PyTorch.
    """
    manifest, roles = bundle.manifest, {entry.role for entry in bundle.manifest.files}
    ranges = "ranges.json" in {entry.name for entry in manifest.files}
    measured = manifest.precision == "int8" and manifest.encoder.architecture == "yamnet"
    if not (measured and ranges and "weights" in roles):
        yield bundle
        return
    try:
        from edgecap_export.bundle.bundles import bundle_contents, trial
        from edgecap_export.bundle.exporter import Exporter
        from edgecap_export.bundle.sources import open_source
        from edgecap_export.onnx.lowering import OnnxLowering
    except ImportError as error:
        raise MissingDependencyError.for_extra("the page's faster graphs", "export") from error
    source = open_source(str(bundle.folder))
    request = replace(Exporter(source, search=manifest.decoder.search).request("onnx", "int8"), recipe=INT8_WEB)
    graphs = OnnxLowering().lower(request).graphs
    measures = "largest difference"  # from PyTorch, of the bundle's own graphs
    details = {name: text for name, text in manifest.provenance.details.items() if not name.startswith(measures)}
    provenance = replace(manifest.provenance, details=details | {"recipe": render_recipe(INT8_WEB)})
    contents = bundle_contents("onnx", graphs, source.vocabulary, source.card)
    encoder = replace(manifest.encoder, streaming=None)  # a page has no use for the encoder of streams
    with trial(replace(manifest, encoder=encoder, provenance=provenance, metrics={}), contents) as made:
        yield made
