"""Recipes of trainings; PyTorch is loaded for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgecap_train.distill.recipe import read_recipe
from fuzz.targets import Opened, through, void
from support.source_tree import REPOSITORY


@contextmanager
def recipe(folder: Path) -> Iterator[Opened]:
    path = folder / "recipe.toml"
    stored = REPOSITORY / "train" / "edgecap_train" / "recipes"
    seeds = [(stored / f"{name}.toml").read_bytes() for name in ("tiny", "own", "effb2")]
    yield seeds, through(path, lambda: read_recipe(path))


@contextmanager
def override(_folder: Path) -> Iterator[Opened]:
    """--set of a recipe's keys."""
    seeds = [b"optimizer.steps=200", b"model.name = 'x'", b"loss.clip=0.5"]
    yield seeds, lambda data: void(read_recipe(Path("tiny"), [data.decode("utf-8", "surrogateescape")]))
