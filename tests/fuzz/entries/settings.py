"""What people write: configurations and options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.options import broker_address, gate_level
from edgecap.util.parsing import host_is_name, host_of, parse_address, parse_duration, parse_hours
from edgecap.web.events.search import Query
from fuzz.targets import Opened, through

RULES = b'[[rules]]\nname = "alarm"\nwords = ["alarm"]\nhours = "22:00-06:00"\noutputs = ["print"]\n'
MICROPHONES = b'[[microphones]]\nname = "hall"\ndevice = "USB"\n'


@contextmanager
def config(folder: Path) -> Iterator[Opened]:
    """The whole file, and each of its sections alone, which is parsed in a tenth of the time."""
    path = folder / "listen.toml"
    complete = render_config(ListenConfig()).encode()
    sections = [b"[" + section for section in complete.split(b"\n[")[1:]]
    yield [*sections, RULES, MICROPHONES, complete + b"\n" + RULES], through(path, lambda: load_config(path))


@contextmanager
def words(_folder: Path) -> Iterator[Opened]:
    """What is typed behind options, and asked of the page: each reader takes each text."""

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for read in (parse_address, parse_duration, parse_hours, host_of, host_is_name, gate_level, broker_address):
            with suppress(ConfigError):
                read(text)
        for field in ("words", "confidence", "day", "hours", "before", "source"):
            with suppress(ValueError, OverflowError, ConfigError):  # as `query_of` does
                Query.of({field: text}).condition()

    yield [b"9100", b"[::1]:80", b"30d", b"https://a.example/x", b"user@host:1883", b"auto", b"2026-11-28", b"0.5"], run
