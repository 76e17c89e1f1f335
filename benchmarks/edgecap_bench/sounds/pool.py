"""Folders of sounds with a `manifest.csv`: their clips, and windows made of clips one after the other."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edgecap.audio.file import decode
from edgecap.types import Waveform
from edgecap_train.text.table_file import read_table

Pools = Annotated[list[Path], typer.Option("--audio", help="A folder with a manifest.csv. May be repeated.")]


@dataclass(frozen=True)
class LicensedClip:
    """A sound of a pool."""

    path: Path
    set: str
    label: str
    licence: str
    source: str
    origin: str
    """Its path where it came from."""


@dataclass(frozen=True, eq=False)
class PackedWindow:
    """Ten seconds of clips, one after the other."""

    samples: Waveform
    clips: tuple[LicensedClip, ...]


def read_pool(folders: Sequence[Path], seed: int = 0) -> list[LicensedClip]:
    """All clips of pools, in an order that depends on the seed alone. Raises TableError."""
    clips = []
    for folder in folders:
        for row in read_table(folder / "manifest.csv", ("file", "set", "label", "license", "source", "source_path")):
            keys = ("set", "label", "license", "source", "source_path")
            clips.append(LicensedClip(folder / row["file"], *(row[key] for key in keys)))
    random.Random(seed).shuffle(clips)
    return clips


def packed_windows(clips: Sequence[LicensedClip], rate: int, length: int) -> Iterator[PackedWindow]:
    """Windows of `length` samples without gap or overlap, until the clips are used up. Raises AudioError."""
    samples, parts = np.empty(0, np.float32), list[tuple[LicensedClip, int]]()
    for clip in clips:
        new = decode(clip.path, rate)
        samples = np.concatenate((samples, new))
        parts.append((clip, new.size))
        while samples.size >= length:
            inside, left = list[LicensedClip](), length
            while left > 0:
                first, size = parts.pop(0)
                inside.append(first)
                if size > left:
                    parts.insert(0, (first, size - left))
                left -= size
            yield PackedWindow(samples[:length], tuple(inside))
            samples = samples[length:]
