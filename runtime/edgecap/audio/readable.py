"""The sound of a file up to where it is damaged, so that what can be heard is captioned before the fault is raised."""

from __future__ import annotations

from collections.abc import Iterator

from edgecap.audio.file import AudioFile
from edgecap.errors import AudioError
from edgecap.types import Waveform


class Readable:
    """The mono blocks of a file up to a fault, which is kept in `fault`."""

    def __init__(self, file: AudioFile) -> None:
        self.fault: AudioError | None = None
        self._file = file

    def __iter__(self) -> Iterator[Waveform]:
        """Blocks (n,). Raises AudioError for a fault before the first block."""
        empty = True
        try:
            for block in self._file.mono():
                empty = False
                yield block
        except AudioError as error:
            if empty:
                raise
            self.fault = error
