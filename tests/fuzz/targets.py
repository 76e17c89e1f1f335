"""What takes bytes of strangers: each input must end in an answer or in one line of an `EdgecapError`.

Only the modules of the target that is run are loaded, so that the memory of a process is that of one way in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from edgecap.errors import EdgecapError

Run = Callable[[bytes], None]
Opened = tuple[list[bytes], Run]
"""Good inputs, and what takes any."""


@dataclass(frozen=True)
class Target:
    """One way in."""

    place: str
    """Module in `fuzz.entries` and function in it, which gives, for a folder of its own, an `Opened`."""
    native: bool = False
    """Whether libraries in C read the bytes too: then a process of its own is due."""
    in_tests: bool = True
    """Whether CI runs it too; those that start programs or decode for long are for the campaign."""

    def open(self, folder: Path) -> AbstractContextManager[Opened]:
        """Make it ready."""
        opened: AbstractContextManager[Opened] = resolve_name(f"fuzz.entries.{self.place}")(folder)
        return opened


TARGETS = {
    "manifest": Target("models:manifest"),
    "catalogue": Target("models:catalogue"),
    "bundle": Target("models:bundle"),
    "graph": Target("models:graph"),
    "vocabulary": Target("models:vocabulary"),
    "checkpoint": Target("models:checkpoint"),
    "answer": Target("net:answer"),
    "config": Target("settings:config"),
    "recipe": Target("recipes:recipe"),
    "override": Target("recipes:override"),
    "words": Target("settings:words"),
    "csv": Target("tables:captions_csv"),
    "json": Target("tables:captions_json"),
    "jsonl": Target("tables:captions_jsonl"),
    "sources": Target("tables:sources", native=True),
    "text-file": Target("tables:text_file"),
    "labels": Target("tables:labels"),
    "archive": Target("archives:settings"),
    "archive-rows": Target("archives:rows", native=True, in_tests=False),
    "archive-table": Target("archives:table", native=True, in_tests=False),
    "search": Target("archives:search"),
    "journal": Target("events:journal"),
    "journal-rows": Target("events:rows"),
    "mqtt": Target("events:mqtt"),
    "http": Target("web:http"),
    "taught": Target("sounds:taught"),
    "pipe": Target("sounds:pipe"),
    "sound": Target("sounds:sound", native=True),
    "media": Target("sounds:media", native=True),
    "ffmpeg": Target("sounds:program", native=True, in_tests=False),
}


def attempt(run: Run, data: bytes) -> str:
    """Run it; the text of the error, empty for an answer. What is no error of ours is raised."""
    try:
        run(data)
    except EdgecapError as error:  # its text is put on one line where it is printed
        return str(error) or type(error).__name__
    return ""


def void(_value: object) -> None:
    """Take a result and give none."""


def through(path: Path, read: Callable[[], object]) -> Run:
    """Write an input to a file and read it."""
    name = str(path)

    def run(data: bytes) -> None:
        with open(name, "wb", buffering=0) as file:  # noqa: PTH123 - a third of the time of Path.write_bytes
            file.write(data)
        read()

    return run
