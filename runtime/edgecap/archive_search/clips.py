"""Hits as wav files, cut from their sources at the right seconds."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path, PurePosixPath

import numpy as np

from edgecap.archive.inputs.find import PlannedSource
from edgecap.archive.inputs.sounds import open_sounds
from edgecap.archive.schema import FailedSource
from edgecap.archive_search.playable import SoundPart
from edgecap.audio.file import AudioFile
from edgecap.errors import AudioError
from edgecap.types import Waveform
from edgecap.util.files import atomic_file

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
MOST_SECONDS = 600.0
"""Of a clip."""


def export_clips(sounds: Sequence[SoundPart | None], folder: Path) -> Iterator[AudioError]:
    """Write a clip of each sound into a folder, 16 bits, at the rate and with the channels of its source.

    Names begin with the number of the hit, from 1, and are made of letters, digits, dots and hyphens. Gives the errors
    of sources that cannot be read; the others are written. Raises OutputError where a clip cannot be written.
    """
    wanted: dict[str, dict[str, list[tuple[int, SoundPart]]]] = defaultdict(lambda: defaultdict(list))
    for number, sound in enumerate(sounds, start=1):
        if sound is not None:
            wanted[container(sound.address)][sound.address].append((number, sound))
    for place, parts in wanted.items():
        failures = list[FailedSource]()
        for key, file in open_sounds([PlannedSource(place)], UTC, failures.append):
            with file:
                try:
                    if key.source in parts:
                        _cut(file, parts.pop(key.source), folder)
                except AudioError as error:
                    yield error
        reason = failures[0].reason if failures else "it is no longer in its file"
        yield from (AudioError(f"no clip of {address}: {reason}") for address in parts)


def container(address: str) -> str:
    """The file that a source is in: the tar file of a tar://MEMBER::FILE, else the source itself."""
    return address.rpartition("::")[2] if address.startswith("tar://") else address


def clip_name(number: int, sound: SoundPart) -> str:
    """As 003-street-1f2e3d4c-10.0s.wav: hit, source, a hash of its address, second."""
    name = sound.address.removesuffix(f"::{container(sound.address)}")  # of a tar file its member
    stem = _UNSAFE.sub("-", PurePosixPath(name).stem).strip("-.")[:60] or "sound"
    key = hashlib.blake2s(sound.address.encode(errors="replace"), digest_size=4).hexdigest()
    return f"{number:03d}-{stem}-{key}-{sound.start:.1f}s.wav"


def _cut(file: AudioFile, parts: Sequence[tuple[int, SoundPart]], folder: Path) -> None:
    """Write the parts of one file, which is read once. Raises AudioError, OutputError."""
    rate = file.sample_rate
    spans = {
        number: (round(sound.start * rate), round(min(sound.end, sound.start + MOST_SECONDS) * rate))
        for number, sound in parts
    }
    last = max(end for _, end in spans.values())
    pieces: dict[int, list[Waveform]] = defaultdict(list)
    position, fault = 0, None
    try:
        for block in file.blocks():
            for number, (start, end) in spans.items():
                piece = block[max(0, start - position) : max(0, end - position)]
                if len(piece):
                    pieces[number].append(piece.copy())
            position += len(block)
            if position >= last:
                break
    except AudioError as error:  # what came before it is written
        fault = error
    for number, sound in parts:
        if pieces[number]:
            _write(folder / clip_name(number, sound), np.concatenate(pieces[number]), rate)
        elif fault is None:
            fault = AudioError(
                f"{sound.address} ends before {sound.start:g} s; it was changed since the archive was made"
            )
    if fault is not None:
        raise fault


def _write(path: Path, samples: Waveform, rate: int) -> None:
    import soundfile

    with atomic_file(path) as file:
        soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
