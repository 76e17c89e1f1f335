"""Tables that people and other programs write: captions, sources, events, labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

import soundfile

from edgecap.archive.inputs.manifest import read_manifest
from edgecap.archive.inputs.times import time_in_name
from edgecap.live.sinks.files import COLUMNS, TextFile
from edgecap.web.events.labels import COLUMNS as LABELLED
from edgecap.web.events.labels import FOLDER, TABLE, Labels, label_of
from edgecap_train.text.captioned_files import read_captioned_files
from fuzz.targets import Opened, through, void
from support.live_parts import ignore
from support.signals import RATE, noise
from support.web_parts import change


@contextmanager
def captions_csv(folder: Path) -> Iterator[Opened]:
    yield from _captions(folder, "csv", b"file,caption_1,caption_2\ndog.wav,a dog,a dog barks\n")


@contextmanager
def captions_json(folder: Path) -> Iterator[Opened]:
    good = b'[{"file": "dog.wav", "caption_1": "a"}, {"id": "dog", "caption": ["x", "y"]}]'
    yield from _captions(folder, "json", good)


@contextmanager
def captions_jsonl(folder: Path) -> Iterator[Opened]:
    yield from _captions(folder, "jsonl", b'{"file": "dog.wav", "caption": "a dog"}\n{"file": "b", "caption": "x"}\n')


def _captions(folder: Path, ending: str, good: bytes) -> Iterator[Opened]:
    """A table beside the sounds that it names."""
    soundfile.write(folder / "dog.wav", noise(1), RATE)
    path = folder / f"table.{ending}"
    yield [good], through(path, lambda: read_captioned_files(path))


@contextmanager
def sources(folder: Path) -> Iterator[Opened]:
    """A table of sources, and the times in it and in the names."""
    path = folder / "sources.csv"
    rows = b"source,time\n/a/20261128_184500.wav,\n2026-11-28T18:45:00+01:00.wav,2026-11-28 18:45\ns3://b/c.wav,\n"

    def read() -> None:
        for row in read_manifest(str(path), None, "UTC", void):
            time_in_name(row.address, UTC)

    yield [rows, rows.decode().encode("utf-16"), b'"path"\n"a ""b"".wav"\n'], through(path, read)


@contextmanager
def text_file(folder: Path) -> Iterator[Opened]:
    """A table of events that another program wrote into, or tore."""
    path = folder / "events.csv"
    header = ",".join(COLUMNS) + "\n"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        file = TextFile(str(path), lambda event: f"{event.text}\n", ignore, header=header, append=True)
        file.on_event(change("end", 1, "a dog barks"))
        file.close()
        assert path.read_bytes().endswith(b"a dog barks\n")

    row = b"2026-11-28T10:00:00.000+00:00,,1.0,2.0,a dog barks,-0.4,-20.0,1,mic\n"
    yield [header.encode(), header.encode() + row], run


@contextmanager
def labels(folder: Path) -> Iterator[Opened]:
    """A table of labels, and what is typed as one."""
    path = folder / FOLDER / TABLE
    path.parent.mkdir()
    header = ",".join(LABELLED).encode() + b"\n"
    row = b"1.flac,a dog,a dog barks,0.5,mic,2026-11-28T10:00:00.000+00:00,2026-11-28T10:00:00.000+00:00\n"

    def read() -> None:
        Labels(folder).texts()
        try:
            label = label_of(path.read_bytes().decode("utf-8", "surrogateescape"))
        except ValueError:
            return
        assert "\n" not in label.encode().decode()

    yield [header + row, header, b"a dog barks"], through(path, read)
