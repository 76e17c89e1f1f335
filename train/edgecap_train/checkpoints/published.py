"""The published student's tensors, by the names they have in its files.

Knows names and shapes, not files. Three ways of writing the same student are understood (see
`published_student`); heads that only training uses and fixed tables of the front end are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import CheckpointError
from edgecap.util.limits import MOST_WORDS
from edgecap_train.checkpoints.slots import Layout, Slot, check_slots, fill_slot
from edgecap_train.models.student import Student, StudentConfig

WRAPPER = "model."
"""What the published class and the distillation wrapper each put before a name."""
EMBEDDING = "decoder.word_embedding.weight"
CLASSIFIER = "decoder.classifier.weight"
POSITIONS = "decoder.pos_encoder.pe"
BACKBONE = "encoder.backbone.eff_net."
IGNORED = ("encoder.melspec_extractor.", "logit_scale", "stdnt_proj.", "tchr_proj.")
"""Fixed tables of the front end, and the heads of the distillation loss."""
LAYOUT = Layout(
    complete="edgecap import reads whole published effb2-trm students", kind="a published effb2-trm student"
)

_STEM = {"_conv_stem": "stem", "_bn0": "stem_norm"}
_HEAD = {"_conv_head": "head", "_bn1": "head_norm"}
_BLOCK = {
    "_expand_conv": "expand",
    "_bn0": "expand_norm",
    "_depthwise_conv": "depthwise",
    "_bn1": "depthwise_norm",
    "_se_reduce": "squeeze.reduce",
    "_se_expand": "squeeze.expand",
    "_project_conv": "project",
    "_bn2": "project_norm",
}
_LAYER = {
    "self_attn.in_proj_": ("self_query_key_value.",),
    "self_attn.out_proj.": ("self_output.",),
    "multihead_attn.in_proj_": ("cross_query.", "cross_key_value."),
    "multihead_attn.out_proj.": ("cross_output.",),
    "linear1.": ("widen.",),
    "linear2.": ("narrow.",),
    "norm1.": ("self_norm.",),
    "norm2.": ("cross_norm.",),
    "norm3.": ("feed_forward_norm.",),
}


@dataclass(frozen=True)
class PublishedStudent:
    """A student read from published tensors."""

    student: Student
    notes: tuple[str, ...]
    """What had to be assumed, in sentences for people."""


def published_student(tensors: Mapping[str, Tensor], *, source: str, training: bool = False) -> PublishedStudent:
    """A student with the weights of a published checkpoint, in eval mode.

    Names may have the published files' two wrappers before them (`model.model.decoder…`), one
    (`model.decoder…`, as in training checkpoints) or none. The tied classifier may be left out. The table
    of positions may be left out of training checkpoints alone (fewer than two wrappers, or `training`):
    the published table is random, so nothing can replace a lost one.

    Raises CheckpointError naming the first tensor, in published order, that is missing, misshapen or not
    made of numbers, else the first that is unknown; `source` is named as the file.
    """
    prefix = _prefix(tensors)
    given = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    rows = len(given[EMBEDDING]) if EMBEDDING in given and given[EMBEDDING].ndim else 0
    if rows > MOST_WORDS:
        raise CheckpointError(
            f"{source}: tensor {prefix}{EMBEDDING} has {rows} words, at most {MOST_WORDS} are allowed"
        )
    student = Student(StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=max(rows, 1)))
    slots = published_slots(student)
    optional = {CLASSIFIER, POSITIONS} if training or prefix != 2 * WRAPPER else {CLASSIFIER}
    check_slots(given, slots, source, LAYOUT, optional, prefix)
    _check_unknown(tensors, {prefix + slot.name for slot in slots}, source)
    _check_tied(given, prefix, source)
    own = student.state_dict()
    for slot in slots:
        if slot.name in given:
            fill_slot(own, slot, given[slot.name])
    notes = []
    if POSITIONS not in given:
        notes.append(
            f"{source} holds no {prefix}{POSITIONS}; sinusoids stand in its place, and a model trained with "
            "another table captions worse than it should"
        )
    return PublishedStudent(student.eval(), tuple(notes))


def published_slots(student: Student) -> tuple[Slot, ...]:
    """Every learned tensor of the published student, in the order of its files."""
    own = student.state_dict()
    names: list[tuple[str, tuple[str, ...]]] = []

    def add(theirs: str, *ours: str) -> None:
        """Every tensor of ours with this prefix, in our order, which is the published one."""
        tails = [name.removeprefix(ours[0]) for name in own if name.startswith(ours[0])]
        names.extend((theirs + tail, tuple(our + tail for our in ours)) for tail in tails)

    for theirs, ours in _STEM.items():
        add(f"{BACKBONE}{theirs}.", f"encoder.{ours}.")
    blocks = {int(name.split(".")[2]) for name in own if name.startswith("encoder.blocks.")}
    for block in sorted(blocks):
        for theirs, ours in _BLOCK.items():
            add(f"{BACKBONE}_blocks.{block}.{theirs}.", f"encoder.blocks.{block}.{ours}.")
    for theirs, ours in _HEAD.items():
        add(f"{BACKBONE}{theirs}.", f"encoder.{ours}.")
    names += [(EMBEDDING, ("decoder.embedding.weight",)), (POSITIONS, ("decoder.positions",))]
    for layer in range(student.config.layers):
        for theirs, parts in _LAYER.items():
            add(f"decoder.model.layers.{layer}.{theirs}", *(f"decoder.layers.{layer}.{part}" for part in parts))
    names.append((CLASSIFIER, ("decoder.embedding.weight",)))
    add("decoder.attn_proj.0.", "decoder.memory_projection.")
    add("decoder.attn_proj.3.", "decoder.memory_norm.")
    return tuple(Slot(theirs, _published_shape(theirs, [own[part] for part in ours]), ours) for theirs, ours in names)


def published_norms(student: Student) -> tuple[tuple[str, str], ...]:
    """Each convolution's weight that a BatchNorm follows, and how the names of that BatchNorm's tensors begin."""
    blocks = range(sum(name.endswith(".depthwise.weight") for name in student.state_dict()))
    tables = [(BACKBONE, _STEM), (BACKBONE, _HEAD), *((f"{BACKBONE}_blocks.{block}.", _BLOCK) for block in blocks)]
    own = student.state_dict()
    pairs = []
    for before, table in tables:
        theirs = {ours: name for name, ours in table.items()}
        place = before.removeprefix(BACKBONE).replace("_blocks.", "encoder.blocks.") or "encoder."
        for ours, name in theirs.items():
            if f"{ours}_norm" in theirs and f"{place}{ours}.weight" in own:
                pairs.append((f"{before}{name}.weight", f"{before}{theirs[f'{ours}_norm']}."))
    return tuple(pairs)


def _published_shape(name: str, parts: list[Tensor]) -> tuple[int, ...]:
    """Shape in the file: ours, one below the other; the table of positions has an axis for the batch."""
    first = tuple(parts[0].shape)
    if name == POSITIONS:
        return (first[0], 1, first[1])
    return (sum(len(part) for part in parts), *first[1:]) if len(parts) > 1 else first


def _prefix(tensors: Mapping[str, Tensor]) -> str:
    """The wrappers before the names, taken from the most tensors; the published two where none fits."""
    counts = {
        prefix: sum(name.startswith((f"{prefix}encoder.", f"{prefix}decoder.")) for name in tensors)
        for prefix in (2 * WRAPPER, WRAPPER, "")
    }
    return max(counts, key=lambda prefix: counts[prefix])


def _check_unknown(tensors: Mapping[str, Tensor], known: set[str], source: str) -> None:
    """Raise CheckpointError for a tensor that is neither the student's nor one that may be passed over."""
    unknown = []
    for name in tensors:
        bare = name
        while bare.startswith(WRAPPER):
            bare = bare.removeprefix(WRAPPER)
        if name not in known and not bare.startswith(IGNORED):
            unknown.append(name)
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise CheckpointError(
            f"{source}: tensor {unknown[0]}{others} is not part of the published student; this is "
            "a checkpoint of another model"
        )


def _check_tied(given: Mapping[str, Tensor], prefix: str, source: str) -> None:
    if CLASSIFIER in given and not torch.equal(given[CLASSIFIER], given[EMBEDDING]):
        raise CheckpointError(
            f"{source}: tensor {prefix}{CLASSIFIER} differs from {prefix}{EMBEDDING}, to which the "
            "published student ties it"
        )
