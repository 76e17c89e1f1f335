"""The default model in float32, which rounds alike in every kernel."""

from __future__ import annotations

import pytest

from edgecap.bundle.bundle import Bundle
from edgecap_export.bundle.bundles import export_bundle
from edgecap_export.bundle.sources import open_source


@pytest.fixture(scope="session")
def float_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    source = open_source(None)
    return export_bundle(
        source.student,
        source.vocabulary,
        tmp_path_factory.mktemp("float") / "fp32",
        name=source.name,
        licence=source.licence,
        provenance=source.provenance,
        silence=source.silence,
        search="outside",  # the shipped models have it in their graph
    )
