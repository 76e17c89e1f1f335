"""The teacher HTSAT-BART out of a checkpoint in the WavCaps layout.

Knows names and shapes. Reads `.safetensors` first and pickles with `weights_only=True` alone. WavCaps' own weights
are for academic use only: the licence also holds for what is distilled from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgecap.errors import CheckpointError
from edgecap.util.documents import from_json
from edgecap.util.files import write_atomically
from edgecap.util.schema import convert
from edgecap_train.checkpoints.checkpoint import read_tensors
from edgecap_train.checkpoints.slots import Layout, Slot, check_slots, fill_slot
from edgecap_train.teachers.htsat_bart import HtsatBart, HtsatBartConfig

ACADEMIC_ONLY = (
    "WavCaps' weights are for academic use only; so is a student that learns from them, and edgecap ships neither"
)
METADATA_KEY, NOTES_KEY = "edgecap-teacher", "edgecap-teacher-notes"
PARALLEL = "module."
"""What PyTorch's data parallelism puts before every name."""
HTSAT = "encoder.audio_enc."
SHARED_EMBEDDING = "decoder.model.shared.weight"
TIED = (
    "decoder.model.encoder.embed_tokens.weight",
    "decoder.model.decoder.embed_tokens.weight",
    "decoder.lm_head.weight",
)
"""Copies of the shared embedding; they may be left out."""
COMPUTED = ("audio_feats_extractor.", "attn_mask", "relative_position_index")
"""Fixed tables, computed here."""
AUDIOSET_HEAD = (HTSAT + "tscam_conv.", HTSAT + "head.")
"""HTSAT's own classifier, which no caption needs."""

LAYOUT = Layout(
    complete="the teacher is read from a whole HTSAT-BART checkpoint in the WavCaps layout",
    kind="an HTSAT-BART in the WavCaps layout",
)
_RENAMED = (("audio.audio_encoder.", HTSAT), ("projection.", "enc_to_dec_proj."), ("bart.", "decoder."))
_RENAMED_IN_HTSAT = (
    ("batch_norm.", "bn0."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.self.query.", "attn.qkv."),
    ("attention.self.", "attn."),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
)
_WITH_QUERY = ("attn.key.weight", "attn.key.bias", "attn.value.weight", "attn.value.bias")
"""Placed with the query: the file holds the three in one tensor."""


@dataclass(frozen=True)
class SavedTeacher:
    """A teacher read from a file."""

    teacher: HtsatBart
    """In eval mode, on the CPU."""
    notes: tuple[str, ...]
    """Conditions of use, in sentences for people."""


@dataclass(frozen=True)
class Placed:
    """How much of a teacher a checkpoint filled."""

    tensors: int
    """Tensors of the teacher that it filled."""
    of: int
    """Tensors of the teacher in all."""
    notes: tuple[str, ...]
    """Conditions of use; they also hold for the teacher that is trained from it."""


def save_htsat_bart(path: Path, teacher: HtsatBart, notes: tuple[str, ...] = ()) -> None:
    """Write a teacher of our own training, whole or not at all, in the WavCaps layout. Raises OutputError.

    `notes`: those of the checkpoints that it began with.
    """
    own = teacher.state_dict()
    tensors = {
        slot.name: torch.cat([own[part].detach().cpu() for part in slot.parts]).contiguous().clone()
        if len(slot.parts) > 1
        else own[slot.parts[0]].detach().cpu().contiguous().clone()
        for slot in teacher_slots(teacher)
    }
    metadata = {METADATA_KEY: json.dumps(asdict(teacher.config)), NOTES_KEY: json.dumps(notes)}
    write_atomically(path, save(tensors, metadata=metadata))


def place_partial(teacher: HtsatBart, path: Path) -> Placed:
    """Fill a teacher with those tensors of a checkpoint that fit: an HTSAT, a BART, or both.

    Names may be WavCaps', those of HTSAT's own AudioSet checkpoints, or those of BART as transformers saves it. Raises
    CheckpointError where none fits.
    """
    tensors = {name.removeprefix(PARALLEL).removeprefix("sed_model."): t for name, t in read_tensors(path).items()}
    own, slots = teacher.state_dict(), teacher_slots(teacher)
    placed = 0
    for slot in slots:
        bare = slot.name.removeprefix(HTSAT).removeprefix("decoder.")
        names = (slot.name, bare, bare.removeprefix("model."))
        tensor = next((tensors[name] for name in names if name in tensors), None)
        if tensor is None or tuple(tensor.shape) != slot.shape:
            continue
        fill_slot(own, slot, tensor)
        placed += 1
    if not placed:
        raise CheckpointError(
            f"{path.name} holds no tensor that fits HTSAT or BART-base of this shape; name a checkpoint of one of them"
        )
    own_config = _own_config(path)
    wavcaps = own_config is None and any(name.startswith(HTSAT) for name in tensors)
    return Placed(placed, len(slots), (ACADEMIC_ONLY,) if wavcaps else own_notes(path))


def _own_config(path: Path) -> HtsatBartConfig | None:
    """The shape that the file of a teacher of our own training holds."""
    try:
        text = _metadata(path).get(METADATA_KEY)
        return None if text is None else convert(from_json(text), HtsatBartConfig)
    except ValueError:
        return None  # what is wrong with the file is reported when its tensors are read


def own_notes(path: Path) -> tuple[str, ...]:
    """What a teacher of our own training carries on from the checkpoints that it began with; none for another file."""
    try:
        return convert(from_json(_metadata(path).get(NOTES_KEY, "[]")), tuple[str, ...])
    except ValueError:
        return ()


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def load_htsat_bart(path: Path, config: HtsatBartConfig | None = None) -> SavedTeacher:
    """The teacher with the weights of `path`, `.safetensors` or a pickle (`.pt`, `.pth`, `.bin`).

    A file of our own training holds its shape; others have that of `config`, by default the published one.

    Raises CheckpointError naming the first tensor, in published order, that is missing, misshapen or not made of
    finite numbers, else the first that is unknown; MissingDependencyError without transformers.
    """
    tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in read_tensors(path).items()}
    own_config = _own_config(path)
    teacher = HtsatBart(own_config or config, blank=True)
    slots = teacher_slots(teacher)
    check_slots(tensors, slots, path.name, LAYOUT)
    _check_others(tensors, slots, path.name)
    own = teacher.state_dict()
    for slot in slots:
        fill_slot(own, slot, tensors[slot.name])
    return SavedTeacher(teacher.eval(), own_notes(path) if own_config else (ACADEMIC_ONLY,))


def teacher_slots(teacher: HtsatBart) -> tuple[Slot, ...]:
    """Every learned tensor of the WavCaps layout that a caption needs, in the order of its files."""
    own = teacher.state_dict()
    slots = []
    for name, tensor in own.items():
        theirs = _published_name(name)
        if theirs in TIED or theirs.endswith(COMPUTED) or theirs.endswith(_WITH_QUERY):
            continue
        parts: tuple[str, ...] = (name,)
        shape = tuple(tensor.shape)
        if ".qkv." in theirs:
            parts = tuple(name.replace(".query.", f".{kind}.") for kind in ("query", "key", "value"))
            shape = (3 * shape[0], *shape[1:])
        slots.append(Slot(theirs, shape, parts))
    return tuple(sorted(slots, key=_place))


def _place(slot: Slot) -> int:
    """Files hold HTSAT, its BatchNorm first, then BART, then the projection; within each, our order is theirs."""
    order = (HTSAT + "bn0.", HTSAT, "decoder.", "enc_to_dec_proj.")
    return next(place for place, begin in enumerate(order) if slot.name.startswith(begin))


def _published_name(name: str) -> str:
    for ours, theirs in _RENAMED:
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    if name.startswith(HTSAT):
        for ours, theirs in _RENAMED_IN_HTSAT:
            if ours in name:
                return name.replace(ours, theirs)
    return name


def _check_others(tensors: Mapping[str, Tensor], slots: tuple[Slot, ...], source: str) -> None:
    """Tied copies must be copies; nothing unknown may be left."""
    known = {slot.name for slot in slots}
    for name, tensor in tensors.items():
        if name in TIED:
            if not torch.equal(tensor, tensors[SHARED_EMBEDDING]):
                raise CheckpointError(f"{source}: tensor {name} differs from {SHARED_EMBEDDING}, to which BART ties it")
        elif name not in known and not name.startswith(AUDIOSET_HEAD) and not any(part in name for part in COMPUTED):
            raise CheckpointError(
                f"{source}: tensor {name} is not part of HTSAT-BART; this is a checkpoint of another model"
            )
