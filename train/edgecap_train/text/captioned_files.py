"""Sound files with captions, in the layouts that tables of this field have.

- A CSV table with a file and its captions: edgecap's own (`file`, `caption_1` …, `dataset`), Clotho's and DCASE's
  (`file_name`, `caption_1` …), `audio`/`path`/`filename` with `caption` or `text`, and the like. A file in several rows
  is one clip with all their captions.
- AudioCaps' (`audiocap_id`, `youtube_id`, `start_time`, `caption`): the files are found by their YouTube id.
- WavCaps' JSON (a list of objects below `data`), and lists or lines of objects with such keys: `id` or a file,
  `caption`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgecap.audio.file import SOUND_SUFFIXES, sound_files
from edgecap.errors import AudioError, TableError
from edgecap.util.documents import from_json
from edgecap_train.text.table_file import column_name, read_csv, read_text
from edgecap_train.text.treebank import treebank_words

FILES = ("file", "file_name", "filename", "fname", "file_path", "filepath", "path", "audio", "audio_path", "audio_file")
YOUTUBE_IDS = ("youtube_id", "ytid")
CAPTION = re.compile(r"(?:raw_)?(?:captions?|text|sentence|description)_?(\d{0,4})")
LAYOUTS = (
    "file (or file_name, filename, path, audio) with caption or caption_1, caption_2 …; AudioCaps' youtube_id and "
    "caption; WavCaps' JSON with id and caption"
)
YOUTUBE_LENGTH = 11


@dataclass(frozen=True)
class CaptionedFile:
    """One clip and its captions."""

    file: Path
    """Where it is, or where it should be."""
    group: str
    """The data set it comes from, by the column `dataset`."""
    captions: tuple[str, ...]
    """All that hold a word, at least one."""
    clip: str = ""
    """Its YouTube id, where the table has one."""
    split: str = ""
    """The part of that data set, by the column `split`."""


@dataclass(frozen=True)
class _Entry:
    """One row or object: where it is, the names that the file may have, and its captions."""

    place: str
    names: tuple[str, ...]
    group: str
    captions: tuple[str, ...]
    clip: str = ""
    split: str = ""


def read_captioned_files(table: Path, folder: Path | None = None) -> list[CaptionedFile]:
    """The clips of a table, in order; files are looked for in `folder`, by default the table's.

    Raises TableError naming the line, or the columns where the layout is none of those above.
    """
    entries = list(_json_entries(table) if table.suffix.lower() in {".json", ".jsonl"} else _csv_entries(table))
    if not entries:
        raise TableError(f"{table.name} has a header and no rows; add one for each recording")
    clips: dict[tuple[tuple[str, ...], str], list[_Entry]] = {}
    for entry in entries:
        clips.setdefault((entry.names, entry.group), []).append(entry)
    sounds = _Sounds(folder or table.parent)
    return [_clip(parts, table, sounds) for parts in clips.values()]


def _clip(parts: Sequence[_Entry], table: Path, sounds: _Sounds) -> CaptionedFile:
    first = parts[0]
    captions = tuple(text for part in parts for text in part.captions if treebank_words(text))
    if not captions:
        raise TableError(f"{first.place} of {table.name}: {first.names[0]} has no caption with a word; write one")
    return CaptionedFile(sounds.path(first.names, first.clip), first.group, captions, first.clip, first.split)


def _csv_entries(path: Path) -> Iterator[_Entry]:
    table = read_csv(path)
    columns = table.columns
    captions = _caption_columns(columns)
    file = next((name for name in FILES if name in columns), "")
    youtube = next((name for name in YOUTUBE_IDS if name in columns), "")
    if not captions or not (file or youtube):
        raise TableError(f"{path.name} has the columns {', '.join(table.header)}; understood are {LAYOUTS}")
    for row in table.rows:
        cells = dict(zip(columns, row.cells, strict=True))
        clip, texts = cells.get(youtube, ""), tuple(row.cells[index] for index in captions)
        names = (cells[file],) if file else _youtube_names(clip, cells.get("start_time", ""))
        if not names[0]:
            raise TableError(f"line {row.line} of {path.name} names no file; fill in {file or youtube}")
        yield _Entry(f"line {row.line}", names, cells.get("dataset", ""), texts, clip, cells.get("split", ""))


def _json_entries(path: Path) -> Iterator[_Entry]:
    text = read_text(path)
    try:
        if path.suffix.lower() == ".jsonl":
            document: Any = [from_json(line) for line in text.splitlines() if line.strip()]
        else:
            document = from_json(text)
    except ValueError as error:
        raise TableError(f"{path.name} is not JSON ({error}); save it again") from error
    objects = document.get("data") if isinstance(document, dict) else document
    if not isinstance(objects, list) or not all(isinstance(entry, dict) for entry in objects):
        raise TableError(
            f"{path.name} is not a list of objects, or an object with one as data; understood are {LAYOUTS}"
        )
    for number, entry in enumerate(objects, 1):
        values = {column_name(str(key)): value for key, value in entry.items()}
        keys = tuple(values)
        names = tuple(str(values[name]) for name in ("id", *FILES) if values.get(name))
        captions = [keys[index] for index in _caption_columns(keys)]
        if not names or not captions:
            raise TableError(f"{path.name}: object {number} has the keys {', '.join(entry)}; understood are {LAYOUTS}")
        yield _Entry(f"object {number}", names, str(values.get("dataset") or ""), tuple(_texts(values, captions)))


def _texts(values: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """The captions under some keys, each a text or a list of texts."""
    for name in names:
        value = values[name]
        yield from (" ".join(str(text).split()) for text in (value if isinstance(value, list) else [value]) if text)


def _caption_columns(columns: Sequence[str]) -> list[int]:
    """Places of the columns that hold captions, by their numbers; `caption` before `text` and the like."""
    matches = [(match, place) for place, name in enumerate(columns) if (match := CAPTION.fullmatch(name))]
    named = [(match, place) for match, place in matches if "caption" in match[0] and "raw" not in match[0]]
    return [place for _, place in sorted(named or matches, key=lambda pair: int(pair[0][1] or 0))]


def _youtube_names(clip: str, start: str) -> tuple[str, ...]:
    ends = (f"_{start}", "") if start else ("",)
    return tuple(f"{mark}{clip}{end}" for end in ends for mark in ("", "Y"))


def _is_file(path: Path) -> bool:
    """Whether a file is there; a name that none can have (too long, say) is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


class _Sounds:
    """The sound files below a folder, looked up by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, names: Sequence[str], clip: str) -> Path:
        """The first of the names that is a file: with its folders, then without its suffix, then by its YouTube id."""
        for name in names:
            if _is_file(self.folder / name):
                return self.folder / name
        for name in names:
            if Path(name).suffix.lower() not in SOUND_SUFFIXES and name in self._stems:
                return self._stems[name]
        return self._clips.get(clip) or self.folder / names[0] if clip else self.folder / names[0]

    @cached_property
    def _paths(self) -> list[Path]:
        try:
            return sound_files(self.folder)
        except AudioError:  # none: each recording is then named as missing
            return []

    @cached_property
    def _stems(self) -> dict[str, Path]:
        return {path.stem: path for path in reversed(self._paths)}

    @cached_property
    def _clips(self) -> dict[str, Path]:
        """Files by the YouTube id in their name: "ID", "YID", "ID_30", "Y-ID_30_40", "set_1__ID"."""
        clips: dict[str, Path] = {}
        for path in reversed(self._paths):
            stem = path.stem.split("__", 1)[-1]
            for name in (stem, stem.removeprefix("Y")):
                if re.fullmatch(r"(_[\d.]+)*", name[YOUTUBE_LENGTH:]):
                    clips[name[:YOUTUBE_LENGTH]] = path
        return clips
