"""Checkpoint files: published ones in, our own in and out.

Published students come as `.safetensors`, `.bin` or `.pth`; their tensors are matched by
`edgecap_train.checkpoints.published`. Our own are one `.safetensors` whose metadata holds the configuration and
the vocabulary as JSON. Pickles are read with `weights_only=True` alone, so no code in a file runs.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgecap.bundle.vocabulary import Vocabulary, check_size, parse_vocabulary, read_vocabulary
from edgecap.errors import CheckpointError, install_newer
from edgecap.util.documents import from_json
from edgecap.util.files import write_atomically
from edgecap.util.schema import convert
from edgecap_train.checkpoints.published import published_student
from edgecap_train.models.student import Student, StudentConfig

METADATA_KEY = "edgecap-student"
FORMAT_VERSION = 1
PUBLISHED_FILES = ("model.safetensors", "pytorch_model.bin")
"""The names in a downloaded folder, best first."""
OWN_FILE = "student.safetensors"
"""The name in the folder of a training run."""
VOCABULARY_FILES = ("tokenizer.json", "vocab.json", "vocabulary.json")
"""Looked for beside a checkpoint that holds no vocabulary."""
CODE_IN_PICKLE = re.compile(r"GLOBAL ([\w.]+)")
"""The message of PyTorch's restricted unpickler where a file names a class or function that it does not allow."""


@dataclass(frozen=True)
class SavedStudent:
    """A student with all that belongs to it."""

    student: Student
    """In eval mode, on the CPU."""
    vocabulary: Vocabulary
    path: Path
    sha256: str
    """Of the file, in hex."""
    published: bool
    """Whether it is a published student, and not one of our own training."""
    notes: tuple[str, ...] = ()
    """What had to be assumed in reading it, in sentences for people."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What was stored beside the weights: recipe, scores."""


@dataclass(frozen=True)
class _Content:
    """The parsed content of a file."""

    tensors: Mapping[str, Tensor]
    own: str | None = None
    """Our own metadata, where it is our own file."""
    training: bool = False
    """Whether the tensors lay in a training checkpoint's `model`."""
    tokenizer: object = None


def load_checkpoint(path: Path, vocabulary: Path | None = None) -> SavedStudent:
    """A student from any file that edgecap reads, or from a folder that holds a published one.

    The vocabulary comes from `vocabulary` where given, else from the checkpoint itself, else from a
    tokenizer.json, vocab.json or vocabulary.json beside it.

    Raises CheckpointError, one line saying which tensor or which part of the file is wrong.
    """
    path = _file(path)
    content = _read(path)
    if content.own is not None:
        return _own_student(content.tensors, content.own, path, vocabulary)
    published = published_student(content.tensors, source=path.name, training=content.training)
    words = _published_vocabulary(path, vocabulary, content.tokenizer)
    check_size(words, published.student.config.vocabulary_size, path.name)
    return SavedStudent(published.student, words, path, _sha256(path), published=True, notes=published.notes)


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of any file by name, and nothing else of it. Raises CheckpointError."""
    return _read(path).tensors


def load_student(path: Path) -> SavedStudent:
    """A student that `save_student` wrote. Raises CheckpointError for any other file."""
    path = _file(path)
    content = _read(path)
    if content.own is None:
        raise CheckpointError(
            f"{path.name} is not a checkpoint of edgecap's own training; edgecap import reads published ones"
        )
    return _own_student(content.tensors, content.own, path)


def save_student(
    path: Path, student: Student, vocabulary: Vocabulary, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a student to one `.safetensors`, whole or not at all. Raises OutputError."""
    check_size(vocabulary, student.config.vocabulary_size, path.name)
    document = {
        "format_version": FORMAT_VERSION,
        "config": asdict(student.config),
        "vocabulary": list(vocabulary),
        "metadata": dict(metadata or {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    data = save(tensors, metadata={METADATA_KEY: json.dumps(document, ensure_ascii=False)})
    write_atomically(path, data)


def _file(path: Path) -> Path:
    """The checkpoint that `path` is or holds. Raises CheckpointError where there is none."""
    if not path.is_dir():
        return path
    for name in (*PUBLISHED_FILES, OWN_FILE):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(
        f"{path} is a folder without {', '.join(PUBLISHED_FILES)} or {OWN_FILE}; name the checkpoint itself"
    )


def _read(path: Path) -> _Content:
    """The file by its ending. Raises CheckpointError."""
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}); name a .safetensors, .bin or .pth file"
        ) from error
    if empty:
        raise CheckpointError(f"{path} is empty; download or copy it again")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in {".bin", ".pth", ".pt"}:
        return _read_pickle(path)
    raise CheckpointError(f"{path} has an unknown suffix; name a .safetensors, .bin or .pth file")


def _read_safetensors(path: Path) -> _Content:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return _Content(tensors, own=(file.metadata() or {}).get(METADATA_KEY))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({_one_line(error)}); download or copy it again"
        ) from error


def _read_pickle(path: Path) -> _Content:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's remarks on old pickles; the file is checked below
            document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise nearly anything
        code = CODE_IN_PICKLE.search(str(error))
        if code:
            raise CheckpointError(
                f"{path} wants to run code ({code[1]}) and edgecap runs none of a checkpoint; where "
                "you trust it, convert it to .safetensors"
            ) from error
        raise CheckpointError(
            f"{path} is damaged or not a PyTorch file ({type(error).__name__}); download or copy it again"
        ) from error
    training = isinstance(document, Mapping) and isinstance(document.get("model"), Mapping)
    tokenizer = document.get("tokenizer") if training else None
    state = document["model"] if training else document
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise CheckpointError(f"{path} holds no tensors by name; name a checkpoint of a published student")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name} is not a tensor but {type(value).__name__}; name a checkpoint of a published student"
            )
    return _Content(dict(state), training=training, tokenizer=tokenizer)


def _one_line(error: Exception) -> str:
    """The gist of another library's message."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= 160 else line[:159] + "…"


def _published_vocabulary(path: Path, given: Path | None, tokenizer: object) -> Vocabulary:
    if given is not None:
        return read_vocabulary(given)
    if tokenizer is not None:
        return parse_vocabulary(tokenizer, f"{path.name} (its tokenizer)")
    for name in VOCABULARY_FILES:
        if (path.parent / name).is_file():
            return read_vocabulary(path.parent / name)
    raise CheckpointError(
        f"{path.name} holds no vocabulary and there is none beside it; type: "
        f"edgecap import {path.name} --vocabulary tokenizer.json"
    )


def _own_student(tensors: Mapping[str, Tensor], text: str, path: Path, given: Path | None = None) -> SavedStudent:
    """A student out of our own metadata and tensors, with the vocabulary `given` or its own. Raises CheckpointError."""
    try:
        document = from_json(text)
        version = document["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path.name} has format version {version} and this edgecap reads {FORMAT_VERSION}; " + install_newer()
            )
        config = convert(document["config"], StudentConfig)
        metadata = convert(document["metadata"], dict[str, str])
        vocabulary = read_vocabulary(given) if given else parse_vocabulary(document["vocabulary"], path.name)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path.name} has metadata that edgecap cannot read ({_one_line(error)})") from error
    student = Student(config)
    for name, tensor in student.state_dict().items():
        if name not in tensors:
            raise CheckpointError(f"{path.name}: tensor {name} is missing; copy the checkpoint again")
        if tensors[name].shape != tensor.shape:
            raise CheckpointError(
                f"{path.name}: tensor {name} has shape {tuple(tensors[name].shape)} where "
                f"{tuple(tensor.shape)} is needed"
            )
    unknown = [name for name in tensors if name not in student.state_dict()]
    if unknown:
        raise CheckpointError(f"{path.name}: tensor {unknown[0]} is not part of the student")
    student.load_state_dict(dict(tensors))
    check_size(vocabulary, config.vocabulary_size, path.name)
    return SavedStudent(student.eval(), vocabulary, path, _sha256(path), published=False, metadata=metadata)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
