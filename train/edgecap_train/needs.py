"""Which extra to install where a command's packages are missing."""

from __future__ import annotations

from importlib.util import find_spec

from edgecap.errors import MissingDependencyError

TRAINING = ("torch", "scipy", "safetensors", "accelerate")


def need(command: str, *packages: str, extra: str = "train") -> None:
    """Raise MissingDependencyError where one of the packages, or of those that all training needs, is missing."""
    if any(find_spec(package) is None for package in (*TRAINING, *packages)):
        raise MissingDependencyError.for_extra(f"edgecap {command}", extra)
