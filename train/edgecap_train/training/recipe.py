"""Recipes: everything that decides how a model is trained, as TOML; what all of them share.

Knows the document only. A key that is unknown or of another type is refused with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta

from edgecap.errors import RecipeError
from edgecap.util.documents import from_toml
from edgecap.util.schema import SchemaError, convert, unknown_key
from edgecap.util.text import decoded

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Whole = Annotated[int, Meta(ge=0, le=1_000_000_000)]
BatchSize = Annotated[int, Meta(ge=1, le=65_536)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]

RECIPES = Path(__file__).parents[1] / "recipes"
"""The package's recipes."""
RENAMED = {
    "model.encoder_rests": "model.freeze_encoder",
    "model.memory_variants": "model.feature_variants",
    "rate": "optimizer.decoder_rate, beside optimizer.encoder_rate",
    "steps": "optimizer.steps",
    "batch": "optimizer.batch",
    "last_rate": "optimizer.last_rate",
    "warm_up": "optimizer.warm_up",
    "weight_decay": "optimizer.weight_decay",
    "clip_norm": "optimizer.clip_norm",
    "average": "optimizer.average",
    "bf16": "optimizer.bf16",
}
"""Keys of earlier recipes → their present names, for the error."""


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """Steps and learning rates. Each kind of run has its own defaults."""

    steps: Count = 6_000
    batch: BatchSize = 16
    """Clips of a step, of all processes together."""
    accumulate: BatchSize = 1
    """Micro-batches, one after the other, in which each process computes its clips of a step. Losses and gradients are
    those of the batch at once, the contrastive loss's too; it takes less memory and one more forward pass."""
    encoder_rate: Weight = 2e-4
    decoder_rate: Weight = 1e-3
    last_rate: Weight = 0.02
    """Learning rate at the end, as a share of the peak (cosine decay)."""
    warm_up: Whole = 300
    weight_decay: Weight = 0.01
    second_moment: Share = 0.999
    """AdamW's decay of the mean squared gradient."""
    clip_norm: Positive = 1.0
    average: Share = 0.999
    """Decay of the weight average that is evaluated and saved."""
    bf16: bool = True
    """bfloat16 in forward passes, where the device computes it (`edgecap_train.training.precision`)."""

    @property
    def clips(self) -> int:
        """Clips of a step, of all streams and processes."""
        return self.batch


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """What the training loop needs of every recipe."""

    name: str
    seed: Whole = 1
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    evaluate_every: Count = 500
    """Steps between evaluations on the development set."""
    save_every: Count = 200
    """Steps between checkpoints to resume from."""
    record_every: Count = 50
    """Steps that a line of metrics averages over."""


Document = TypeVar("Document")


def check_heads(name: str, width: int, heads: int) -> None:
    """Raise ValueError unless `width` is a multiple of attention's `heads`."""
    if width % heads:
        raise ValueError(f"{name} must be a multiple of heads, and {width} is not a multiple of {heads}")


def read_document(path: Path, kind: type[Document], overrides: Sequence[str] = ()) -> Document:
    """A recipe of any kind (a frozen dataclass) from TOML, with overrides of the form "optimizer.steps=200".

    `path` is a file, or the name of one of the package's recipes.

    Raises RecipeError naming the key that is unknown, missing or of another type, or the override that is malformed.
    """
    path = find_recipe(path)
    try:
        document = from_toml(decoded(path.read_bytes()).replace("\r\n", "\n"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error}") from error
    for text in overrides:
        _override(document, text)
    try:
        recipe = convert(document, kind)
    except SchemaError as error:
        raise RecipeError(f"{path.name}: {error}") from error
    key = unknown_key(document, msgspec.to_builtins(recipe))
    if key:
        advice = (
            f"it is now {RENAMED[key]}" if key in RENAMED else f"the nearest is {_nearest(key, list(_keys(recipe)))}"
        )
        raise RecipeError(f"{path.name}: unknown key {key}; {advice}")
    return recipe


def find_recipe(path: Path) -> Path:
    """The file that `path` is, or the package's recipe of that name ("tiny", "tiny.toml").

    Raises RecipeError naming the package's recipes where there is neither.
    """
    if path.is_file() or path.name != str(path):
        return path
    inside = RECIPES / f"{path.name.removesuffix('.toml')}.toml"
    if not inside.is_file():
        names = ", ".join(sorted(entry.stem for entry in RECIPES.glob("*.toml")))
        raise RecipeError(f"there is no recipe {path}; name a TOML file, or one of the package's: {names}")
    return inside


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, keys joined by dots."""
    keys: dict[str, Any] = {}
    for key, value in document.items():
        keys |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return keys


def _keys(recipe: object, prefix: str = "") -> Iterator[str]:
    """All keys that a recipe may have, those of tables after their table and a dot."""
    for entry in fields(cast(Any, recipe)):
        value = getattr(recipe, entry.name)
        if is_dataclass(value):
            yield from _keys(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name


LONGEST_KEY = 60
"""Characters of a key that are compared with known ones: the comparison's time grows with their square."""


def _nearest(key: str, known: Sequence[str]) -> str:
    """The known key that looks most like `key`: in its last part first, then as a whole."""
    key = key[-LONGEST_KEY:]
    name = key.rpartition(".")[2]

    def likeness(other: str) -> tuple[float, float]:
        return (
            SequenceMatcher(None, name, other.rpartition(".")[2]).ratio(),
            SequenceMatcher(None, key, other).ratio(),
        )

    return max(known, key=likeness)


def _override(document: dict[str, Any], text: str) -> None:
    """Set one key of `document`: the value is TOML, or a word without quotes."""
    key, equals, value = text.partition("=")
    *tables, name = key.strip().split(".")
    if not equals or not all((*tables, name)):
        raise RecipeError(f"{text!r} sets nothing; write KEY=VALUE, as in --set optimizer.steps=200")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise RecipeError(f"{key.strip()}: {table} is a value, not a table of keys")
    try:
        document[name] = from_toml(f"value = {value.strip()}")["value"]
    except ValueError:
        document[name] = value.strip()
