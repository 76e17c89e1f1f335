"""A published checkpoint to a bundle, with NumPy alone: its tensors fill the template of their architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgecap._version import __version__
from edgecap.bundle.bundle import BundleContent, vocabulary_content, write_bundle
from edgecap.bundle.manifest import Licence, Precision, Provenance
from edgecap.bundle.vocabulary import check_size, read_vocabulary
from edgecap.errors import CheckpointError
from edgecap.pull.template import Template, Values, filled, read_template
from edgecap.pull.tensor_files import Tensors, read_tensors
from edgecap.runtimes import RUNTIMES

WRAPPERS = ("model.model.", "model.", "")
"""What may stand before the names of tensors."""
EMBEDDING = "decoder.word_embedding.weight"
COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published model's files, and what is to be said of them."""

    weights: Path
    vocabulary: Path
    file: str
    """Name of the weights' file, for messages and the manifest."""
    architecture: str
    licence: Licence
    sha256: str
    details: Mapping[str, str]


def convert(published: Published, folder: Path, *, name: str, precision: Precision) -> None:
    """Write the bundle `folder` of a published checkpoint.

    Raises CheckpointError for tensors or words that are not those of the architecture, OutputError.
    """
    tensors, prefix = bare(read_tensors(published.weights, published.file))
    embedding = tensors.get(EMBEDDING)
    if embedding is None or embedding.ndim != 2:
        raise CheckpointError(f"{published.file}: tensor {prefix}{EMBEDDING} is missing; this is no effb2-trm student")
    template = read_template(published.architecture, len(embedding), precision)
    checked = _checked(tensors, template, published.file, prefix)
    words = read_vocabulary(published.vocabulary)
    check_size(words, len(embedding), published.file)
    manifest = replace(
        template.manifest,
        name=name,
        licence=published.licence,
        provenance=Provenance(
            source=f"the published student in {published.file}",
            sha256=published.sha256,
            created_by=f"edgecap {__version__}",
            details=dict(published.details),
        ),
    )
    names = RUNTIMES[manifest.runtime].graphs
    contents = [BundleContent(names[role], role, b"".join(filled(template, role, checked))) for role in template.graphs]
    write_bundle(folder, manifest, [*contents, vocabulary_content(words)])


def bare(tensors: Tensors) -> tuple[dict[str, Values], str]:
    """The tensors without the wrapper that the most names have, and that wrapper; others keep their names."""
    inner = {wrapper: [name for name in tensors if _is_inner(name, wrapper)] for wrapper in WRAPPERS}
    prefix = max(WRAPPERS, key=lambda wrapper: len(inner[wrapper]))
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, prefix


def _is_inner(name: str, wrapper: str) -> bool:
    return name.startswith((f"{wrapper}encoder.", f"{wrapper}decoder."))


def _checked(tensors: dict[str, Values], template: Template, source: str, prefix: str) -> dict[str, Values]:
    """The tensors that the template needs. Raises CheckpointError for the first that is missing, misshapen, not of
    finite numbers, not tied as it must be, or unknown."""
    missing = [name for name in template.tensors if name not in tensors]
    if missing:
        raise CheckpointError(
            f"{source}: tensor {prefix}{missing[0]} is missing ({len(missing)} of {len(template.tensors)} are); this "
            "is no published effb2-trm student"
        )
    for name, shape in template.tensors.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise CheckpointError(
                f"{source}: tensor {prefix}{name} has shape {tensor.shape} where {shape} is needed; this is not a "
                "published effb2-trm student"
            )
        if name.endswith(COUNTER):
            continue
        if tensor.dtype.kind != "f":
            raise CheckpointError(
                f"{source}: tensor {prefix}{name} is of {tensor.dtype} where floating point is needed"
            )
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{source}: tensor {prefix}{name} holds NaN or infinity; the file is damaged")
    for name, other in template.tied.items():
        if name in tensors and not np.array_equal(tensors[name], tensors[other]):
            raise CheckpointError(f"{source}: tensor {prefix}{name} differs from {prefix}{other}, to which it is tied")
    for name in tensors:
        if (
            name not in template.tensors
            and name not in template.tied
            and not _stripped(name).startswith(template.ignored)
        ):
            raise CheckpointError(f"{source}: tensor {name} is not part of the published student")
    return {name: tensors[name] for name in template.tensors}


def _stripped(name: str) -> str:
    """A name without any wrapper."""
    while name.startswith("model."):
        name = name.removeprefix("model.")
    return name
