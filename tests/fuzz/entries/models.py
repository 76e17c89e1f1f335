"""Models: manifests and bundles of all versions, vocabularies, catalogues, checkpoints."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from edgecap.bundle.bundle import MANIFEST_NAME, BundleContent, load_bundle, write_bundle
from edgecap.bundle.catalogue import parse_catalogue
from edgecap.bundle.confidence import ConfidenceSpec, SourceSpec, render_confidence
from edgecap.bundle.manifest import parse_manifest, render_manifest
from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.inference.onnx_file import names_other_files
from edgecap.pull.tensor_files import read_tensors
from fuzz.targets import Opened, through, void
from support.source_tree import REPOSITORY
from support.tiny_model import write_tiny_bundle

STORED = REPOSITORY / "tests" / "runtime" / "bundle" / "data"
"""Manifests of all versions that are read."""
PICKLE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03ctorch\n"
    b"FloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08K\x03K\x01\x86q"
    b"\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
"""What PyTorch writes for {"a": a float tensor of (2, 3)}."""
SPEC = ConfidenceSpec(
    sources=(SourceSpec(name="dog", tokens=(5,), group=0), SourceSpec(name="rain", tokens=(7, 8), group=1)),
    groups=("an animal", "water"),
    unclear="something",
    embedding_dim=2,
    projection="AAAAAAAA",
    scales=(1.0, 1.0, 1.0),
    offsets=(0.0, 0.0, 0.0),
    right=(0.5, 0.5),
    broad=(0.5, 0.5),
)


@contextmanager
def manifest(_folder: Path) -> Iterator[Opened]:
    seeds = [path.read_bytes() for path in sorted(STORED.glob("manifest-*.json"))]
    yield seeds, lambda data: void(parse_manifest(data))


@contextmanager
def catalogue(_folder: Path) -> Iterator[Opened]:
    good = (REPOSITORY / "runtime" / "edgecap" / "bundle" / "catalogue.json").read_bytes()
    yield [good], lambda data: void(parse_catalogue(data, "a catalogue"))


@contextmanager
def bundle(folder: Path) -> Iterator[Opened]:
    """A bundle whose hashes were made right by a stranger. The first byte says which of its files is another."""
    tiny = write_tiny_bundle(folder / "tiny")
    contents = [BundleContent(entry.name, entry.role, tiny.folder / entry.name) for entry in tiny.manifest.files]
    contents.append(BundleContent("confidence.json", "confidence", render_confidence(SPEC)))
    strange = write_bundle(folder / "strange", tiny.manifest, contents)
    parts = {role[:1].encode(): strange.manifest.file(role) for role in ("vocabulary", "encode", "confidence")}
    good = {key: (strange.folder / entry.name).read_bytes() for key, entry in parts.items()}
    before = [b""]

    def run(data: bytes) -> None:
        key, content = data[:1], data[1:]
        if before[0] in good:
            (strange.folder / parts[before[0]].name).write_bytes(good[before[0]])
        before[0], text = key, content
        if key in parts:
            (strange.folder / parts[key].name).write_bytes(content)
            listed = replace(parts[key], size=len(content), sha256=sha256(content).hexdigest())
            files = [listed if entry.role == listed.role else entry for entry in strange.manifest.files]
            text = render_manifest(replace(strange.manifest, files=files))
        (strange.folder / MANIFEST_NAME).write_bytes(text)
        load_bundle(strange.folder)

    yield [*(key + content for key, content in good.items()), b"m" + render_manifest(strange.manifest)], run


@contextmanager
def graph(folder: Path) -> Iterator[Opened]:
    """Whether a graph names other files."""
    path = folder / "graph.onnx"
    tiny = write_tiny_bundle(folder / "tiny")
    good = (tiny.folder / tiny.manifest.file("encode").name).read_bytes()

    def look() -> None:
        with suppress(OSError, ValueError):  # as its caller does
            names_other_files(path)

    yield [good, good.replace(b"weight", b"location", 1)], through(path, look)


@contextmanager
def vocabulary(folder: Path) -> Iterator[Opened]:
    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog"]
    table = {word: index for index, word in enumerate(words)}
    tokenizer = {"model": {"vocab": table}, "added_tokens": [{"content": "barks", "id": 6}]}
    path = folder / "vocabulary.json"
    seeds = [json.dumps(each).encode() for each in (words, table, tokenizer)]
    yield seeds, through(path, lambda: read_vocabulary(path))


@contextmanager
def checkpoint(folder: Path) -> Iterator[Opened]:
    """Both forms of a checkpoint's file."""
    tensors = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
    header = json.dumps(tensors).encode()
    plain = struct.pack("<Q", len(header)) + header + bytes(24)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", PICKLE)
        file.writestr("archive/data/0", bytes(24))
        file.writestr("archive/version", "3\n")
    path = folder / "model"
    yield [plain, archive.getvalue()], through(path, lambda: read_tensors(path, "model"))
