"""`edgecap listen` on files and pipes, its configuration, and the same from Python."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import soundfile

import edgecap as package
from edgecap.bundle.bundle import load_bundle
from edgecap.captioner import Captioner
from edgecap.cli.live.listening import plain_options
from edgecap.errors import AudioError, BundleError, ConfigError, OutputError
from edgecap.inference.session import open_session
from edgecap.live.config.config_file import load_config, read_secret
from edgecap.live.config.config_text import key_help, render_config
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.listen_config import ListenConfig, ModelConfig, OutputConfig, SourceConfig, microphones
from edgecap.live.events.event import Change
from edgecap.live.session import ListenSession
from edgecap.live.sinks.base import Sink
from support.signals import RATE, noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Quiet noise with a tone from 3 to 6 s; 18 s."""
    samples = noise(18, level=10 ** (-72 / 20))
    samples[3 * RATE : 6 * RATE] += tone(3)
    path = tmp_path_factory.mktemp("listen") / "sound.wav"
    soundfile.write(path, samples, RATE)
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (None, {})),
        ("--config a.toml --wait --plain", ("a.toml", {"source": {"wait": True}, "output": {"plain": True}})),
        ("-c a.toml --no-wait --web 8080", ("a.toml", {"source": {"wait": False}, "web": {"address": "8080"}})),
        ("--file a.wav --json", (None, {"source": {"file": "a.wav"}, "output": {"json": True}})),
        *((line, None) for line in ("--hop 2", "--device a", "--rtsp rtsp://a", "--model a", "--gate off", "--help")),
        *((line, None) for line in ("--web", "--file -x", "--config", "--wait=1", "a.wav", "--no-such")),
    ],
)
def test_a_plain_line_is_read_without_typer_and_any_other_by_it(line: str, expected: object) -> None:
    assert plain_options(line.split()) == expected


def test_a_file_is_listened_to_as_fast_as_can_be_and_everything_is_told_of_it(
    edgecap: Run, tiny_folder: Path, sound: Path, tmp_path: Path
) -> None:
    done = edgecap(
        "listen",
        "--model",
        tiny_folder,
        "--file",
        sound,
        "--speed",
        0,
        "--json",
        "--srt",
        tmp_path / "a.srt",
        "--vtt",
        tmp_path / "a.vtt",
        "--csv",
        tmp_path / "a.csv",
        "--journal",
        tmp_path / "a.db",
        "--min-score",
        -99,
        "--exec",
        f'cat >> "{tmp_path}/a.jsonl"',
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    ends = [line for line in lines if line["kind"] == "end"]
    assert lines[0]["kind"] == "begin"
    assert ends[0]["start"] == pytest.approx(3.0, abs=0.11)
    assert ends[-1]["end"] == pytest.approx(6.0, abs=0.11)
    assert (tmp_path / "a.srt").read_text().count("-->") == len(ends)
    assert (tmp_path / "a.vtt").read_text().count("-->") == len(ends)
    assert len((tmp_path / "a.csv").read_text().splitlines()) == len(ends) + 1
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == len(ends)
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT text FROM events WHERE open = 0 ORDER BY id").fetchall() == [
        (line["text"],) for line in ends
    ]
    database.close()
    assert f"stopped after {len(ends)} events" in done.stderr


def test_raw_samples_on_standard_input_are_listened_to(edgecap: Run, tiny_folder: Path) -> None:
    samples = (noise(4, 8000) * 32_767).astype("<i2").repeat(2)  # two channels of the same
    done = edgecap(
        "listen",
        "--model",
        tiny_folder,
        "--stdin",
        "--rate",
        8000,
        "--channels",
        2,
        "--speed",
        0,
        "--json",
        "--min-score",
        -99,
        input=samples.tobytes(),
    )
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["kind"], last["source"]) == ("end", "standard input")
    assert last["end"] == pytest.approx(4.0, abs=0.11)


def test_a_termination_in_the_middle_of_a_file_closes_the_open_event(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(60), RATE)
    command = [
        sys.executable,
        "-m",
        "edgecap",
        "listen",
        "--model",
        str(tiny_folder),
        "--json",
        "--file",
        str(tmp_path / "a.wav"),
        "--journal",
        str(tmp_path / "a.db"),
        "--min-score",
        "-99",
    ]
    listening = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert listening.stdout is not None
    assert json.loads(listening.stdout.readline())["kind"] == "begin"
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT open FROM events").fetchall() == [(1,)]  # stored before it was printed
    listening.send_signal(signal.SIGTERM)
    out, error = listening.communicate(timeout=30)
    assert listening.returncode == 0, error
    assert json.loads(out.splitlines()[-1])["kind"] == "end"
    assert database.execute("SELECT open FROM events WHERE open = 1").fetchall() == []
    database.close()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--file", "nowhere.wav"], 3, "nowhere.wav does not exist"),
        (["--file", "a.wav", "--stdin"], 2, "not from both"),
        (["--stdin"], 3, "standard input is empty"),
        (["--webhook", "nonsense", "--stdin"], 2, "invalid URL"),
        (["--metrics", "x:y", "--stdin"], 2, "invalid address"),
        (["--journal", "/nowhere/a.db", "--stdin"], 7, "the journal /nowhere/a.db cannot be used"),
        (["--srt", "/nowhere/a.srt", "--stdin"], 7, "/nowhere/a.srt cannot be written"),
        (["--keep", "a while"], 2, "output.keep"),
        (["--hop", "0"], 2, "stream.hop"),
        (["--speed", "-1"], 2, "source.speed"),
        (["--gate", "loud"], 2, "auto, off or a level"),
        (["--ignore", "background", "--stdin"], 2, "events.ignore: 'background' is not a content word of captions"),
        (["--config", "nowhere.toml"], 2, "nowhere.toml cannot be read"),
    ],
)
def test_a_wrong_line_is_one_clear_line_and_its_code(
    edgecap: Run, tiny_folder: Path, arguments: list[str], code: int, words: str
) -> None:
    done = edgecap("listen", "--model", tiny_folder, *arguments)
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_printed_configuration_is_read_back_to_the_same(edgecap: Run, tmp_path: Path) -> None:
    done = edgecap("listen", "--print-config", "--hop", 3, "--only", 'a "dog"', "--only", "siren", "--gate", "-45")
    assert done.returncode == 0
    (tmp_path / "a.toml").write_text(done.stdout)
    config = load_config(tmp_path / "a.toml")
    assert (config.stream.hop, config.events.only, config.stream.gate) == (3.0, ('a "dog"', "siren"), -45.0)
    assert render_config(config).rstrip("\n") == done.stdout.rstrip("\n")
    again = edgecap("listen", "--print-config", "--config", tmp_path / "a.toml", "--hop", 4)
    assert again.stdout == done.stdout.replace("hop = 3.0", "hop = 4.0")


def test_every_key_of_the_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(render_config(ListenConfig()))
    assert load_config(tmp_path / "a.toml") == ListenConfig()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_a_configuration_saved_on_windows_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.toml").write_bytes("[stream]\r\nhop = 3.0\r\n# Küche\r\n".encode(encoding))
    assert load_config(tmp_path / "a.toml").stream.hop == 3.0
    (tmp_path / "secret").write_bytes("пароль\r\nnext\r\n".encode(encoding.removesuffix("-le")))
    assert read_secret(str(tmp_path / "secret"), "password", lambda _kind, _message: None) == "пароль"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[stream]\nhop = 2.0\n\n[events]\ncooldwn = 3\n", r"a\.toml:5: \[events\] has no key 'cooldwn'"),
        ("[streem]\nhop = 2.0\n", r"a\.toml:1: there is no section \[streem\]"),
        (
            '[stream]\nwindow = 5\nhop = "fast"\n',
            r"a\.toml:3: stream\.hop must be a number above 0 and of at most 31536000, not 'fast'",
        ),
        ("[stream]\nhop = -1\n", r"a\.toml:2: stream\.hop"),
        ('[events]\nonly = ["dog", 3]\n', r"a\.toml:2: events\.only"),
        ("[output]\njson = tru\n", r"not valid TOML: .*line 2"),
        ("stream = 3\n", r"a\.toml:1: stream must be written as \[stream\]"),
        ('[source]\nfile = "a.wav"\nstdin = true\n', "not from both"),
    ],
)
def test_a_wrong_configuration_is_told_with_key_and_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "a.toml")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[stream]\nhop = 5\ngate = "off"\n[events]\nonly = ["dog"]\n')
    config = load_config(tmp_path / "a.toml", {"stream": {"hop": 1.0, "gate": None}, "events": {"only": ["cat"]}})
    assert (config.stream.hop, config.stream.gate, config.events.only) == (1.0, "off", ("cat",))


def test_a_wrong_option_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[stream]\nhop = 5\n")
    with pytest.raises(
        ConfigError, match=r"^stream\.hop \(--hop\) must be a number above 0 and of at most 31536000, not -1"
    ):
        load_config(tmp_path / "a.toml", {"stream": {"hop": -1.0}})


def test_a_file_stands_in_for_all_microphones_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[[microphones]]\ndevice = "a"\n[[microphones]]\ndevice = "b"\n')
    assert len(microphones(load_config(tmp_path / "a.toml"))) == 2
    for source in ({"file": "a.wav"}, {"stdin": True}):
        assert microphones(load_config(tmp_path / "a.toml", {"source": source})) == [None]


def test_a_configuration_does_everything_by_itself(
    edgecap: Run, tiny_folder: Path, sound: Path, tmp_path: Path
) -> None:
    text = msgspec.json.encode  # a JSON string is a TOML string
    (tmp_path / "a.toml").write_text(
        f"[source]\nfile = {text(str(sound)).decode()}\nspeed = 0\n[model]\nname = {text(str(tiny_folder)).decode()}\n"
        "[events]\nmin_score = -99\n[output]\njson = true\n"
    )
    done = edgecap("listen", "-c", tmp_path / "a.toml")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["kind"] == "begin"


def options(tiny_folder: Path, sound: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(tiny_folder), "file": str(sound), "speed": 0, "min_score": -99.0, **more}


def test_python_iterates_over_events(tiny_folder: Path, sound: Path) -> None:
    begun = list(package.listen(**options(tiny_folder, sound)))
    assert begun
    assert all(isinstance(event, package.Event) and event.open for event in begun)
    with package.listen(on="end", **options(tiny_folder, sound)) as events:
        ended = list(events)
        assert events.status.events == len(begun)
    assert [event.id for event in ended] == [event.id for event in begun]
    assert not any(event.open for event in ended)
    every = list(package.listen(on="all", **options(tiny_folder, sound)))
    assert len(every) > len(begun) + len(ended) - 1


def test_python_iterates_asynchronously(tiny_folder: Path, sound: Path) -> None:
    async def main() -> list[int]:
        return [event.id async for event in package.listen(**options(tiny_folder, sound))]

    assert asyncio.run(main()) == [event.id for event in package.listen(**options(tiny_folder, sound))]


def test_leaving_an_asynchronous_loop_ends_the_listener(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(60), RATE)
    threads = set(threading.enumerate())

    async def main() -> None:
        events = package.listen(**options(tiny_folder, tmp_path / "long.wav", speed=4))
        async for event in events:
            assert event.text
            break
        await asyncio.to_thread(events.close)

    asyncio.run(main())
    for _ in range(400):
        left = set(threading.enumerate()) - threads
        if not left:
            break
        time.sleep(0.05)
    assert left == set()


def test_leaving_early_takes_no_announced_event_along(tiny_folder: Path, sound: Path, tmp_path: Path) -> None:
    with package.listen(**options(tiny_folder, sound, srt=str(tmp_path / "a.srt"))) as events:
        first = next(events)
    assert first.open
    assert first.text in (tmp_path / "a.srt").read_text()


def test_an_output_that_fails_takes_no_announced_event_along(tiny_folder: Path, sound: Path, tmp_path: Path) -> None:
    class Full(Sink):
        def on_event(self, change: Change) -> None:
            raise OutputError("the output cannot be written")

    config = ListenConfig(
        source=SourceConfig(file=str(sound), speed=0.0),
        model=ModelConfig(name=str(tiny_folder)),
        events=EventsConfig(min_score=-99.0),
        output=OutputConfig(journal=str(tmp_path / "a.db")),
    )
    with (
        ListenSession(config, lambda *_: None, sinks=[Full()]) as session,
        pytest.raises(OutputError, match="cannot be written"),
    ):
        list(session.changes(threading.Event()))
    database = sqlite3.connect(tmp_path / "a.db")
    assert database.execute("SELECT open FROM events").fetchall() == [(0,)]
    database.close()


def test_a_model_that_cannot_caption_a_stream_is_told_before_anything_is_opened(
    tiny_folder: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_bundle(tiny_folder)
    waveform = replace(
        plain, manifest=replace(plain.manifest, encoder=replace(plain.manifest.encoder, input="waveform"))
    )
    monkeypatch.setattr(Captioner, "load", lambda *_, **__: Captioner(waveform, open_session(plain, 1)))
    with pytest.raises(BundleError, match="takes samples, not log-mel frames"):
        package.listen(**options(tiny_folder, sound, journal=str(tmp_path / "a.db")))
    assert not (tmp_path / "a.db").exists()


def test_stopping_from_another_thread_gives_the_end_of_the_open_event(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(60), RATE)
    events = package.listen(on="all", **options(tiny_folder, tmp_path / "long.wav", speed=4))
    first = next(events)
    events.stop()
    *_, last = events
    assert first.open
    assert not last.open


def test_closing_from_another_thread_ends_the_loop_there(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", noise(60), RATE)
    events = package.listen(on="end", **options(tiny_folder, tmp_path / "long.wav", speed=1))
    ended: list[package.Event] = []
    began = threading.Event()

    def walk() -> None:
        began.set()
        ended.extend(events)

    thread = threading.Thread(target=walk)
    thread.start()
    assert began.wait(20)
    events.close()
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(StopIteration):
        next(events)


def test_wrong_options_of_listen_are_told(tiny_folder: Path, sound: Path) -> None:
    with pytest.raises(ConfigError, match=r"no option 'hopp'; it has .*hop"):
        package.listen(hopp=2.0)
    with pytest.raises(ConfigError, match="not 'sometimes'"):
        package.listen(on="sometimes")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"stream\.hop"):
        package.listen(**options(tiny_folder, sound, hop="fast"))
    with pytest.raises(AudioError, match="does not exist"):
        package.listen(**options(tiny_folder, Path("nowhere.wav")))


def test_a_terminal_gets_the_live_view_and_keeps_the_events(tiny_folder: Path, sound: Path) -> None:
    master, slave = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "edgecap",
        "listen",
        "--model",
        str(tiny_folder),
        "--min-score",
        "-99",
        "--file",
        str(sound),
        "--speed",
        "8",
    ]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    listening = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65_536)
        except OSError:  # how Linux tells that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert listening.wait(timeout=30) == 0
    text = shown.decode()
    assert "dBFS  gate" in text
    assert "a caption takes" in text
    assert "stopped after" in text
    assert "Traceback" not in text
    assert not text.rstrip().endswith("dBFS")


def test_the_file_says_of_each_key_what_it_means() -> None:
    parts: list[Any] = [getattr(ListenConfig(), section.name) for section in fields(ListenConfig)]
    kinds: list[Any] = [type(part) for part in parts if is_dataclass(part)]
    assert [key.name for kind in kinds for key in fields(kind) if not key_help(kind).get(key.name)] == []
    lines = render_config(ListenConfig()).splitlines()
    assert lines[lines.index("hop = 2.0") - 1].endswith("too slow or too hot. [default: 2.0]")
    assert lines[lines.index("# password = (not set)") - 1].startswith("# The user's password")
