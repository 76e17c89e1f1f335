"""The source of the four packages as data: modules, what each imports, the names it uses."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = {"edgecap": "runtime", "edgecap_train": "train", "edgecap_export": "export", "edgecap_bench": "benchmarks"}
"""Package → its folder, from the ground up: each may import those before it."""


@functools.cache
def modules(package: str) -> dict[str, Path]:
    """Dotted name → file, of every module of a package; a package's `__init__.py` has the package's name."""
    base = REPOSITORY / ROOTS[package]
    files = {path: path.relative_to(base).with_suffix("").parts for path in sorted((base / package).rglob("*.py"))}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in files.items()}


@functools.cache
def all_modules() -> dict[str, Path]:
    return {name: path for package in ROOTS for name, path in modules(package).items()}


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """What a file imports anywhere in it, in functions and for the type checker too, as dotted names.

    `from a.b import c` gives `a.b.c` where that is a module of ours, otherwise `a.b`.
    """
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            ours = inner & all_modules().keys()
            names |= ours | ({module} if inner - ours else set())
    return frozenset(names)


def top_level_imports(path: Path) -> set[str]:
    """The distributions' packages among a file's imports: `torch` for `torch.nn`."""
    return {name.split(".")[0] for name in imports(path)}


def edges(package: str) -> Iterator[tuple[str, str]]:
    """(importing module, imported module) of each import within a package."""
    for module, path in modules(package).items():
        for target in sorted(imports(path) & modules(package).keys() - {module}):
            yield module, target


def variables(path: Path) -> set[str]:
    """Names of variables and arguments in a file."""
    return {node.id for node in nodes(path) if isinstance(node, ast.Name)} | {
        node.arg for node in nodes(path) if isinstance(node, ast.arg)
    }


def public_classes(path: Path) -> set[str]:
    return {node.name for node in nodes(path) if isinstance(node, ast.ClassDef) and not node.name.startswith("_")}
