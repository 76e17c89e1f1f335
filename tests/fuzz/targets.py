"""What takes bytes of strangers: each input must end in an answer or in one line of an `EdgecapError`."""

from __future__ import annotations

import io
import json
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC
from hashlib import sha256
from pathlib import Path

import soundfile

from edgecap.archive.inputs.manifest import read_manifest
from edgecap.archive.inputs.times import time_in_name
from edgecap.archive.schema import SETTINGS, ArchivedModel, ArchiveSettings, CaptionOptions
from edgecap.archive.settings import read_settings
from edgecap.archive.store import open_store
from edgecap.audio.file import AudioFile
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.catalogue import parse_catalogue
from edgecap.bundle.manifest import parse_manifest, render_manifest
from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, EdgecapError
from edgecap.inference.onnx_file import names_other_files
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig, OutputConfig
from edgecap.live.config.mqtt_config import MqttConfig
from edgecap.live.config.options import broker_address, gate_level
from edgecap.live.config.web_config import WebConfig
from edgecap.live.sinks.broker import Broker
from edgecap.live.sinks.broker_client import Happened
from edgecap.live.sinks.files import COLUMNS, TextFile
from edgecap.live.sinks.homeassistant import is_own
from edgecap.live.sinks.journal import Journal
from edgecap.pull.tensor_files import read_tensors
from edgecap.util.parsing import host_is_name, host_of, parse_address, parse_duration
from edgecap.web.events.search import JournalReader, Query
from edgecap.web.page import LivePage
from edgecap_train.distill.recipe import read_recipe
from edgecap_train.text.captioned_files import read_captioned_files
from support.live_parts import Messages, ignore, notifier
from support.ports import refusing_port
from support.signals import RATE, noise
from support.source_tree import REPOSITORY
from support.tiny_model import write_tiny_bundle
from support.web_parts import change

Run = Callable[[bytes], None]
CONTAINERS = {
    "wav": ("WAV", "PCM_16"), "float": ("WAV", "FLOAT"), "rf64": ("RF64", "PCM_16"), "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"), "caf": ("CAF", "PCM_16"), "au": ("AU", "PCM_16"), "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", "MPEG_LAYER_III"),
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One way in. `open` gives, with a folder of its own, good inputs and the function that takes any."""

    open: Callable[[Path], AbstractContextManager[tuple[list[bytes], Run]]]
    native: bool = False
    """Whether libraries in C read the bytes too: then a process of its own is due."""


def attempt(run: Run, data: bytes) -> str:
    """Run it; the text of the error, empty for an answer. What is no error of ours is raised."""
    try:
        run(data)
    except EdgecapError as error:  # its text is put on one line where it is printed
        return str(error) or type(error).__name__
    return ""


@contextmanager
def _manifest(_folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    stored = REPOSITORY / "tests" / "runtime" / "bundle" / "data"
    seeds = [path.read_bytes() for path in sorted(stored.glob("manifest-*.json"))]
    yield seeds, lambda data: void(parse_manifest(data))


@contextmanager
def _catalogue(_folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    good = (REPOSITORY / "runtime" / "edgecap" / "bundle" / "catalogue.json").read_bytes()
    yield [good], lambda data: void(parse_catalogue(data, "a catalogue"))


@contextmanager
def _bundle(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """A file of a bundle whose hash was made right by a stranger: the vocabulary, or a graph."""
    bundle = write_tiny_bundle(folder / "tiny")
    names = [bundle.manifest.file(role).name for role in ("vocabulary", "encode")]
    good = {name: (bundle.folder / name).read_bytes() for name in names}

    def run(data: bytes) -> None:
        name = names[0] if data[:1] in b"[\xef {" else names[1]
        files = [
            replace(entry, size=len(data), sha256=sha256(data).hexdigest()) if entry.name == name else entry
            for entry in bundle.manifest.files
        ]
        for each in names:
            (bundle.folder / each).write_bytes(data if each == name else good[each])
        (bundle.folder / "manifest.json").write_bytes(render_manifest(replace(bundle.manifest, files=files)))
        load_bundle(bundle.folder)

    yield list(good.values()), run


@contextmanager
def _graph(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    path = folder / "graph.onnx"
    bundle = write_tiny_bundle(folder / "tiny")
    good = (bundle.folder / bundle.manifest.file("encode").name).read_bytes()

    def look() -> None:
        with suppress(OSError, ValueError):  # as its caller does
            names_other_files(path)

    yield [good, good.replace(b"weight", b"location", 1)], _through(path, look)


@contextmanager
def _vocabulary(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    words = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog"]
    table = {word: index for index, word in enumerate(words)}
    tokenizer = {"model": {"vocab": table}, "added_tokens": [{"content": "barks", "id": 6}]}
    path = folder / "vocabulary.json"
    seeds = [json.dumps(each).encode() for each in (words, table, tokenizer)]
    yield seeds, _through(path, lambda: read_vocabulary(path))


@contextmanager
def _config(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    path = folder / "listen.toml"
    rules = b'[[rules]]\nname = "alarm"\nwords = ["alarm"]\nhours = "22:00-06:00"\noutputs = ["print"]\n'
    microphones = b'[[microphones]]\nname = "hall"\ndevice = "USB"\n'
    good = render_config(ListenConfig()).encode()
    yield [good, rules, microphones, good + rules], _through(path, lambda: load_config(path))


@contextmanager
def _recipe(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    path = folder / "recipe.toml"
    stored = REPOSITORY / "train" / "edgecap_train" / "recipes"
    seeds = [(stored / f"{name}.toml").read_bytes() for name in ("tiny", "own", "effb2")]
    yield seeds, _through(path, lambda: read_recipe(path))


@contextmanager
def _override(_folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    seeds = [b"optimizer.steps=200", b"model.name = 'x'", b"loss.clip=0.5"]
    yield seeds, lambda data: void(read_recipe(Path("tiny"), [data.decode("utf-8", "surrogateescape")]))


@contextmanager
def _tensors(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"format": "pt"}}
    ).encode()
    plain = struct.pack("<Q", len(header)) + header + bytes(24)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", _PICKLE)
        file.writestr("archive/data/0", bytes(24))
        file.writestr("archive/version", "3\n")
    path = folder / "model"
    yield [plain, archive.getvalue()], _through(path, lambda: read_tensors(path, "model"))


_PICKLE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03ctorch\n"
    b"FloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08K\x03K\x01\x86q"
    b"\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
"""What PyTorch writes for {"a": a float tensor of (2, 3)}."""


def _table(ending: str, *seeds: bytes) -> Callable[[Path], AbstractContextManager[tuple[list[bytes], Run]]]:
    @contextmanager
    def table(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
        soundfile.write(folder / "dog.wav", noise(1), RATE)
        path = folder / f"table.{ending}"
        yield list(seeds), _through(path, lambda: read_captioned_files(path))

    return table


@contextmanager
def _archive(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """The settings of an archive."""
    settings = ArchiveSettings(
        model=ArchivedModel("tiny", "0" * 64, "onnx"),
        options=CaptionOptions(window=10.0, hop=10.0, beam=3),
        embedding_dim=8,
        inputs=["/recordings", "s3://bucket/recordings"],
    )
    yield [settings.to_json()], _through(folder / SETTINGS, lambda: read_settings(open_store(str(folder))))


@contextmanager
def _sources(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """A table of sources, and the times in it and in the names."""
    path = folder / "sources.csv"
    rows = b"source,time\n/a/20261128_184500.wav,\n2026-11-28T18:45:00+01:00.wav,2026-11-28 18:45\ns3://b/c.wav,\n"

    def read() -> None:
        for row in read_manifest(str(path), None, "UTC", void):
            time_in_name(row.address, UTC)

    yield [rows, rows.decode().encode("utf-16"), b'"path"\n"a ""b"".wav"\n'], _through(path, read)


@contextmanager
def _journal(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """A damaged or strange journal is written on, put aside or refused, and read by the page."""
    path = folder / "events.db"
    messages: Messages = []

    def record() -> None:
        journal = Journal(str(path), "30d", notifier(messages), model="tiny")
        try:
            journal.on_event(change("begin", 1, "a dog barks"))
            journal.on_event(change("end", 1, "a dog barks"))
        finally:
            journal.close()

    def run(data: bytes) -> None:
        for old in folder.iterdir():
            old.unlink()
        path.write_bytes(data)
        messages.clear()
        record()
        reader = JournalReader(str(path))
        assert [event.text for event in reader.newest(Query(), 1)] == ["a dog barks"], messages
        assert reader.days(Query())
        assert reader.sources()

    record()
    yield [path.read_bytes()], run


@contextmanager
def _text_file(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
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
def _mqtt(_folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """What others publish under the listener's topics."""
    with refusing_port() as port:
        broker = Broker(MqttConfig(host="127.0.0.1", port=port), ignore, base="edgecap/x", client_id="x", is_own=is_own)

        def run(data: bytes) -> None:
            for topic in ("edgecap/x/start", "edgecap/x/caption", "homeassistant/device/x/state"):
                broker._link.happened.put(Happened("received", topic=topic, payload=data))
            broker.step()

        yield [b'{"client": "y", "host": "hall"}', b'{"state": "a dog"}', b'{"level_dbfs": -20.0}'], run
        broker._link.stop()


@contextmanager
def _http(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """Raw requests to the page, over loopback."""
    captioner = Captioner.load(write_tiny_bundle(folder / "tiny").folder, threads=1)
    messages: Messages = []
    config = ListenConfig(web=WebConfig(address="0"), output=OutputConfig(journal=str(folder / "events.db")))
    Journal(str(folder / "events.db"), "30d", ignore, model="tiny").close()
    page = LivePage(config, captioner, notifier(messages))
    port = int(page.url.rstrip("/").rpartition(":")[2])
    host = f"Host: 127.0.0.1:{port}\r\n".encode()

    def run(data: bytes) -> None:
        messages.clear()
        with socket.create_connection(("127.0.0.1", port), timeout=60.0) as visitor:
            with suppress(OSError):
                visitor.sendall(data)
                visitor.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                visitor.recv(65_536)
        assert not messages, messages

    body = b"0123456789"
    origin = f"Origin: http://127.0.0.1:{port}\r\n".encode()
    seeds = [
        b"GET " + path + b" HTTP/1.1\r\n" + host + b"\r\n"
        for path in (
            b"/", b"/main.js", b"/live", b"/events?words=dog&confidence=0.5&day=2026-11-28&before=1e9", b"/events.csv",
            b"/sounds/1.flac",
        )
    ]  # fmt: skip
    seeds.append(
        b"GET /events HTTP/1.1\r\n" + host + b"Range: bytes=0-9\r\nLast-Event-ID: 1-2\r\nCookie: token=x\r\n\r\n"
    )
    seeds.append(
        b"POST /caption?name=a.wav HTTP/1.1\r\n" + host + origin + b"Content-Type: application/octet-stream\r\n"
        b"Content-Length: 10\r\n\r\n" + body
    )
    try:
        yield seeds, run
    finally:
        page.close()


@contextmanager
def _words(_folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    """What is typed behind options, and asked of the page: each reader takes each text."""

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for read in (parse_address, parse_duration, host_of, host_is_name, gate_level, broker_address):
            with suppress(ConfigError):
                read(text)
        for field in ("words", "confidence", "day", "hours", "before", "source"):
            with suppress(ValueError, OverflowError):  # as `query_of` does
                Query.of({field: text}).condition()

    yield [b"9100", b"[::1]:80", b"30d", b"https://a.example/x", b"user@host:1883", b"auto", b"2026-11-28", b"0.5"], run


@contextmanager
def _sound(folder: Path) -> Iterator[tuple[list[bytes], Run]]:
    path, seeds = folder / "sound", []
    for container, subtype in CONTAINERS.values():
        soundfile.write(path, noise(1), RATE, format=container, subtype=subtype)
        seeds.append(path.read_bytes())

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with AudioFile(path) as sound:
            for block in sound.mono():
                assert block.ndim == 1

    yield seeds, run


TARGETS = {
    "manifest": Target(_manifest),
    "catalogue": Target(_catalogue),
    "bundle": Target(_bundle),
    "graph": Target(_graph),
    "vocabulary": Target(_vocabulary),
    "config": Target(_config),
    "recipe": Target(_recipe),
    "override": Target(_override),
    "checkpoint": Target(_tensors),
    "csv": Target(_table("csv", b"file,caption_1,caption_2\ndog.wav,a dog,a dog barks\n")),
    "json": Target(_table("json", b'[{"file": "dog.wav", "caption_1": "a"}, {"id": "dog", "caption": ["x", "y"]}]')),
    "jsonl": Target(_table("jsonl", b'{"file": "dog.wav", "caption": "a dog"}\n{"file": "b", "caption": "x"}\n')),
    "archive": Target(_archive),
    "sources": Target(_sources, native=True),
    "journal": Target(_journal),
    "text-file": Target(_text_file),
    "mqtt": Target(_mqtt),
    "http": Target(_http),
    "words": Target(_words),
    "sound": Target(_sound, native=True),
}


def void(_value: object) -> None:
    """Take a result and give none."""


def _through(path: Path, read: Callable[[], object]) -> Run:
    """Write an input to a file and read it."""

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read()

    return run
