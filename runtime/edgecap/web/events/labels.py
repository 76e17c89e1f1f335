"""What people say that an event was: a table beside copies of the sounds, as `edgecap evaluate --data` and
`edgecap train student --captions` read it.

The folder `labelled` in that of `--keep-audio` holds `labels.csv` and the sounds that it names. Nothing there is
deleted by age. A row is one sound: `file`, `caption_1` (what it was), `heard` (what the model said), `confidence`,
`source`, `began` and `labelled` (times as ISO 8601). Other columns and rows, such as `caption_2`, stay as they are.
"""

from __future__ import annotations

import csv
import io
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from edgecap.errors import OutputError, reason_of
from edgecap.live.events.event import Event, iso
from edgecap.live.sinks.files import csv_line
from edgecap.util.files import atomic_file, read_at_most, write_atomically
from edgecap.util.limits import MOST_LABEL, MOST_LABEL_TABLE, MOST_LABELS
from edgecap.util.text import cell, clean

FOLDER, TABLE = "labelled", "labels.csv"
COLUMNS = ("file", "caption_1", "heard", "confidence", "source", "began", "labelled")


def label_of(text: str) -> str:
    """What a person typed, as a caption: one line. Raises ValueError with the reason."""
    label = clean(" ".join(text.split()))
    if not label[:1].isalnum() or not any(sign.isalpha() for sign in label):
        raise ValueError("describe the sound in words, as: a dog barks")
    if len(label) > MOST_LABEL:
        raise ValueError(f"a label has at most {MOST_LABEL} characters")
    return label


class Labels:
    """The labels of the sounds in one folder. Its methods raise OutputError; they may be called from any thread."""

    def __init__(self, folder: Path, *, wall: Callable[[], float] = time.time) -> None:
        """`folder` is that of `--keep-audio`."""
        self.folder, self._wall = folder / FOLDER, wall
        self._lock = threading.Lock()
        """Guards the table and the two below."""
        self._state: tuple[int, int] | None = None
        self._rows: dict[str, dict[str, str]] = {}

    def texts(self) -> Mapping[str, str]:
        """Sound file to label."""
        with self._lock:
            self._load()
            return {file: row["caption_1"] for file, row in self._rows.items()}

    def put(self, event: Event, file: str, sound: IO[bytes], label: str) -> None:
        """Label an event, and copy its `sound`."""
        with self._lock:
            self._load()
            known = self._rows.get(file, {})
            if not known and len(self._rows) >= MOST_LABELS:
                raise OutputError(f"{self._table} has {MOST_LABELS} labels; move the folder away to begin another")
            self._make_folder()
            if not (self.folder / file).is_file():
                with atomic_file(self.folder / file, mode=0o600) as copy:
                    shutil.copyfileobj(sound, copy)
            about = cell(event.text), f"{event.confidence:.3f}", cell(event.source), iso(event.began), iso(self._wall())
            self._write(self._rows | {file: known | dict(zip(COLUMNS, (file, label, *about), strict=True))})

    def remove(self, file: str) -> None:
        """Take a label back, and delete the copy of its sound."""
        with self._lock:
            self._load()
            if file in self._rows:
                self._write({name: row for name, row in self._rows.items() if name != file})
                (self.folder / file).unlink(missing_ok=True)

    @property
    def _table(self) -> Path:
        return self.folder / TABLE

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder} cannot be made ({reason_of(error)}); check the folder above") from error

    def _load(self) -> None:
        """Read the table where it has changed."""
        try:
            status = self._table.stat()
        except OSError:
            self._state, self._rows = None, {}
            return
        if (state := (status.st_mtime_ns, status.st_size)) == self._state:
            return
        if status.st_size > MOST_LABEL_TABLE:
            raise OutputError(f"{self._table} is too large for a table of labels; move it away")
        try:
            text = read_at_most(self._table, MOST_LABEL_TABLE).decode("utf-8-sig")
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            rows = [{name: value or "" for name, value in row.items() if name is not None} for row in reader]
        except (OSError, ValueError, csv.Error) as error:
            raise OutputError(
                f"{self._table} cannot be read ({reason_of(error)}); correct it, or move it away"
            ) from error
        if not {"file", "caption_1"} <= set(reader.fieldnames or ()):
            raise OutputError(f"{self._table} lacks the columns file and caption_1; add them, or move it away")
        self._state, self._rows = state, {row["file"]: row for row in rows}

    def _write(self, rows: dict[str, dict[str, str]]) -> None:
        names = dict.fromkeys((*COLUMNS, *(name for row in rows.values() for name in row)))
        lines = [csv_line(names), *(csv_line(row.get(name, "") for name in names) for row in rows.values())]
        write_atomically(self._table, "".join(lines), mode=0o600)
        self._rows, self._state = rows, None  # read again: two writes may have one time and one size
