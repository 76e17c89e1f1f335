"""Where events go, each against the real thing: files, a shell, an HTTP server, SQLite, a metrics page, a terminal."""

from __future__ import annotations

import csv
import io
import json
import socket
import sqlite3
import struct
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from edgecap.cli.live_view import LiveView
from edgecap.errors import ConfigError, OutputError
from edgecap.live.events.event import Change, Kind
from edgecap.live.pipeline.status import StatusSnapshot
from edgecap.live.sinks import files, hooks
from edgecap.live.sinks.base import NotDeliveredError, Outbox
from edgecap.live.sinks.journal import Journal
from edgecap.live.sinks.lines import JsonLines, PeopleLines
from edgecap.live.sinks.metrics import Metrics, render
from edgecap.util.parsing import host_of, parse_address, parse_duration
from support.live_parts import Clock, Messages, change, ignore, notifier, story, usb_status


@pytest.fixture
def messages() -> Messages:
    return []


def test_people_get_one_line_for_each_event() -> None:
    lines: list[str] = []
    sink = PeopleLines(lines.append)
    for number, text in enumerate(("a dog barks", "rain falls"), start=1):
        for item in story(number, text):
            sink.on_event(item)
    assert [line.split(maxsplit=1)[1] for line in lines] == ["a dog barks", "rain falls"]


def test_events_of_two_microphones_that_go_on_side_by_side_are_told_once_each() -> None:
    lines: list[str] = []
    sink = PeopleLines(lines.append, updates=True)
    kinds: list[Kind] = ["begin", "update", "update", "end"]
    for kind in kinds:
        for number, text in ((1, "a dog barks"), (2, "rain falls")):
            sink.on_event(change(kind, number, text))
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "a dog barks",
        "rain falls",
        "(end of: a dog barks, 4 s)",
        "(end of: rain falls, 4 s)",
    ]


@pytest.mark.parametrize(("updates", "kinds"), [(False, ["begin", "end"]), (True, ["begin", "update", "end"])])
def test_programs_get_json(updates: bool, kinds: list[str]) -> None:
    lines: list[str] = []
    sink = JsonLines(lines.append, model="tiny", updates=updates)
    for item in story():
        sink.on_event(item)
    documents = [json.loads(line) for line in lines]
    assert [line["kind"] for line in documents] == kinds
    assert (documents[0]["source"], documents[0]["model"], documents[0]["text"]) == ("USB", "tiny", "a dog barks")


def test_subtitles_and_tables_are_what_players_and_programs_read(tmp_path: Path, messages: Messages) -> None:
    sinks = [
        files.srt(str(tmp_path / "a.srt"), notifier(messages)),
        files.vtt(str(tmp_path / "a.vtt"), notifier(messages)),
        files.table(str(tmp_path / "a.csv"), notifier(messages)),
    ]
    for sink in sinks:
        for item in [*story(), *story(2, 'he says "a < b, c"')]:
            sink.on_event(item)
    subtitles = (tmp_path / "a.srt").read_text()  # each event is there before the file is closed
    assert subtitles == (
        '1\n01:01:01,500 --> 01:01:05,250\na dog barks\n\n2\n01:01:01,500 --> 01:01:05,250\nhe says "a < b, c"\n\n'
    )
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n\n01:01:01.500 --> 01:01:05.250\na dog barks\n\n")
    assert "a &lt; b" in (tmp_path / "a.vtt").read_text()
    for sink in sinks:
        sink.close()
    again = files.table(str(tmp_path / "a.csv"), notifier(messages))
    again.on_event(change(number=3, text="rain"))
    again.close()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert [row["text"] for row in rows] == ["a dog barks", 'he says "a < b, c"', "rain"]
    assert (rows[0]["start"], rows[0]["score"], rows[0]["level_dbfs"]) == ("3661.500", "-0.4567", "-12.3")


def test_a_table_with_other_columns_is_left_alone_and_closed(tmp_path: Path, messages: Messages) -> None:
    (tmp_path / "a.csv").write_text("my,own\n")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OutputError, match="has other columns"):
        files.table(str(tmp_path / "a.csv"), notifier(messages))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert (tmp_path / "a.csv").read_text() == "my,own\n"


def test_a_file_that_cannot_be_written_is_an_error_and_a_disk_that_fills_is_told(
    tmp_path: Path, messages: Messages
) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        files.srt(str(tmp_path / "nowhere" / "a.srt"), notifier(messages))
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sink = files.srt("/dev/full", notifier(messages))
    sink.on_event(change())
    sink.on_event(change())
    assert [kind for kind, _ in messages] == ["warning"]
    assert "No space left" in messages[0][1]
    sink.close()


def test_a_program_gets_the_event_on_standard_input_and_in_its_environment(tmp_path: Path, messages: Messages) -> None:
    command = (
        f'cat > "{tmp_path}/$EDGECAP_KIND-$EDGECAP_ID"; printf "%s" "$EDGECAP_TEXT" > "{tmp_path}/text"; '
        f'echo "$EDGECAP_OPEN $EDGECAP_AUDIO_KEPT $EDGECAP_MODEL" > "{tmp_path}/more"'
    )
    hook = hooks.program(command, "both", notifier(messages), model="tiny", audio_kept=True)
    for item in story(text='"; touch /tmp/not-this; $(id) `id`'):
        hook.on_event(item)
    hook.close()
    assert messages == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begin-1", "end-1", "more", "text"]
    document = json.loads((tmp_path / "begin-1").read_text())
    assert (document["source"], document["audio_kept"]) == ("USB", True)
    assert (tmp_path / "more").read_text() == "0 1 tiny\n"
    assert (tmp_path / "text").read_text() == '"; touch /tmp/not-this; $(id) `id`'


def test_a_program_that_fails_or_hangs_is_told_and_the_next_event_gets_its_own(
    tmp_path: Path, messages: Messages
) -> None:
    command = (
        f"cat > /dev/null; if [ $EDGECAP_ID = 1 ]; then exit 3; elif [ $EDGECAP_ID = 2 ]; then sleep 60; fi; "
        f'echo > "{tmp_path}/$EDGECAP_ID"'
    )
    hook = hooks.program(command, "begin", notifier(messages), model="tiny", limit=0.5)
    for number in (1, 2, 3):
        hook.on_event(change("begin", number))
    hook.close()
    assert [path.name for path in tmp_path.iterdir()] == ["3"]
    assert "ended with code 3" in messages[0][1]
    assert "more than 0.5 s" in messages[1][1]


def test_a_program_that_cannot_be_started_is_told_and_the_next_event_gets_its_own(
    tmp_path: Path, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, failures = subprocess.Popen, [OSError(12, "Cannot allocate memory")]

    def popen(*arguments: object, **more: object) -> object:
        if failures:
            raise failures.pop()
        return start(*arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("edgecap.util.child.subprocess.Popen", popen)
    hook = hooks.program(f'echo > "{tmp_path}/$EDGECAP_ID"', "begin", notifier(messages), model="tiny")
    for number in (1, 2):
        hook.on_event(change("begin", number))
    hook.close()
    assert hook.outbox.lost == 1
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
    assert "could not be started (Cannot allocate memory)" in messages[0][1]


def test_a_program_that_does_not_read_its_input_is_fine(tmp_path: Path, messages: Messages) -> None:
    hook = hooks.program(f'echo >> "{tmp_path}/runs"', "begin", notifier(messages), model="tiny")
    for number in range(5):
        hook.on_event(change("begin", number))
    hook.close()
    assert messages == []
    assert (tmp_path / "runs").read_text() == 5 * "\n"


class Web:
    """A real server whose answers the test chooses."""

    def __init__(self, *codes: int) -> None:
        self.bodies: list[dict[str, object]] = []
        self.codes = list(codes)
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(web.codes.pop(0) if web.codes else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def web(request: pytest.FixtureRequest) -> Iterator[Web]:
    server = Web(*getattr(request, "param", ()))
    yield server
    server.close()


def post(url: str, messages: Messages, *items: Change, **more: float) -> hooks.Hook:
    hook = hooks.webhook(url, "begin", notifier(messages), model="tiny", **{"first_delay": 0.02, **more})  # type: ignore[arg-type]
    for item in items:
        hook.on_event(item)
    hook.close()
    return hook


def test_a_webhook_posts_each_event(web: Web, messages: Messages) -> None:
    post(web.url, messages, *story(1), *story(2, "rain falls"))
    assert [(body["id"], body["kind"], body["text"]) for body in web.bodies] == [
        (1, "begin", "a dog barks"),
        (2, "begin", "rain falls"),
    ]
    assert messages == []


@pytest.mark.parametrize("web", [(503, 429)], indirect=True)
def test_a_webhook_that_is_away_for_a_moment_loses_nothing_and_keeps_the_order(web: Web, messages: Messages) -> None:
    hook = post(web.url, messages, change("begin", 1), change("begin", 2))
    assert [body["id"] for body in web.bodies] == [1, 1, 1, 2]
    assert hook.outbox.lost == 0
    assert [kind for kind, _ in messages] == ["warning", "note"]


@pytest.mark.parametrize("web", [(503,) * 3], indirect=True)
def test_a_webhook_is_given_up_after_its_tries(web: Web, messages: Messages) -> None:
    hook = post(web.url, messages, change("begin", 1), tries=3)
    assert len(web.bodies) == 3
    assert hook.outbox.lost == 1
    assert "not delivered (127.0.0.1 answers 503" in messages[-1][1]


@pytest.mark.parametrize("web", [(404,), (301,)], indirect=True)
def test_a_webhook_that_refuses_or_redirects_is_not_asked_again(web: Web, messages: Messages) -> None:
    post(web.url, messages, change("begin", 1))
    assert len(web.bodies) == 1
    assert "not delivered" in messages[0][1]


def test_a_webhook_that_nobody_answers_does_not_hold_up_the_end(messages: Messages) -> None:
    server = Web()
    server.close()
    hook = post(server.url, messages, change("begin", 1), first_delay=3600.0, grace=0.3)  # it did not wait an hour
    assert hook.outbox.lost == 1
    assert "cannot be reached" in messages[0][1]
    assert "1 events were not delivered" in messages[-1][1]


@pytest.mark.parametrize("url", ["http://house/k\u00fcche", "http://house/a b", "http://house/a\nb"])
def test_a_web_address_with_signs_that_none_has_is_refused_at_once(url: str, messages: Messages) -> None:
    with pytest.raises(ConfigError, match="percent-encode them"):
        hooks.webhook(url, "begin", notifier(messages), model="")


def test_a_password_in_a_web_address_is_refused_and_not_repeated(messages: Messages) -> None:
    with pytest.raises(ConfigError, match="contains a user") as refused:
        hooks.webhook("http://me:secret@house/x", "begin", notifier(messages), model="")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["htps://me:secret@house/secret", "house/secret", "http://h:x/?secret", "http://h/secret ü"]
)
def test_the_key_in_a_wrong_address_is_not_repeated(url: str, messages: Messages) -> None:
    with pytest.raises(ConfigError, match=r"'(htps://)?(http://)?h") as refused:
        hooks.webhook(url, "begin", notifier(messages), model="")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://[::1]:80/x", "https://my_house.lan/api/webhook/a%20b?c=d"])
def test_web_addresses(url: str) -> None:
    assert host_of(url) in url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "localhost:80",
        "http://",
        "file:///etc/passwd",
        "http://[::1/x",
        "http://house:99999/x",
        "http://.example/x",
    ],
)
def test_what_is_no_web_address_is_refused(url: str, messages: Messages) -> None:
    with pytest.raises(ConfigError, match="invalid URL"):
        hooks.webhook(url, "begin", notifier(messages), model="")


def test_an_outbox_is_bounded_and_loses_the_oldest(messages: Messages) -> None:
    begun, go, delivered = threading.Event(), threading.Event(), []

    def deliver(item: int) -> None:
        begun.set()
        go.wait(20)
        delivered.append(item)

    outbox = Outbox("slow", deliver, notifier(messages), limit=3)
    outbox.put(0)
    assert begun.wait(20)
    for item in range(1, 10):
        outbox.put(item)
    go.set()
    outbox.close()
    assert delivered == [0, 7, 8, 9]
    assert outbox.lost == 6


def test_a_delivery_that_makes_no_sense_to_repeat_is_not_repeated(messages: Messages) -> None:
    tries = []

    def deliver(item: int) -> None:
        tries.append(item)
        raise NotDeliveredError("no", again=False)

    outbox = Outbox("x", deliver, notifier(messages), first_delay=0.01)
    outbox.put(1)
    outbox.close()
    assert tries == [1]


def rows(path: Path) -> list[tuple[str, int, int]]:
    database = sqlite3.connect(path)
    stored = database.execute("SELECT text, updates, open FROM events ORDER BY began").fetchall()
    database.close()
    return stored


def journal(path: Path, messages: Messages, clock: Clock, keep: str = "30d") -> Journal:
    return Journal(str(path), keep, notifier(messages), model="tiny", wall=clock, clock=clock)


def test_the_journal_has_an_event_from_its_beginning_and_closes_what_a_killed_listener_left(
    tmp_path: Path, messages: Messages
) -> None:
    path, clock = tmp_path / "events.db", Clock()
    first = journal(path, messages, clock)
    first.on_event(change("begin", began=1000.0))
    assert rows(path) == [("a dog barks", 2, 1)]  # a second reader sees it at once; nothing was closed
    second = journal(path, messages, clock)
    second.on_event(change("begin", text="rain falls", began=2000.0))
    second.on_event(change("end", text="rain falls hard", began=2000.0))
    assert rows(path) == [("a dog barks", 2, 0), ("rain falls hard", 2, 0)]
    first.close()
    second.close()
    assert messages == []


def test_the_journal_forgets_what_is_older_than_it_is_kept(tmp_path: Path, messages: Messages) -> None:
    path, clock = tmp_path / "events.db", Clock()
    sink = journal(path, messages, clock, keep="1d")
    for number in range(3):
        sink.on_event(change("begin", number, text=f"event {number}", began=clock()))
        sink.on_event(change("end", number, text=f"event {number}", began=clock()))
        clock.sleep(50_000.0)
    sink.on_event(change("begin", 9, text="now", began=clock()))
    sink.on_status(usb_status())  # nothing need be heard for it
    assert [text for text, _, _ in rows(path)] == ["event 2", "now"]
    sink.close()


def test_a_clock_that_is_wrong_for_less_than_an_hour_deletes_nothing(tmp_path: Path, messages: Messages) -> None:
    path, clock, wrong = tmp_path / "events.db", Clock(), Clock()
    sink = journal(path, messages, clock)
    sink.on_event(change("end", 1, began=clock()))
    sink.close()
    wrong.sleep(10 * 365 * 86_400.0)
    sink = Journal(str(path), "30d", notifier(messages), model="tiny", wall=wrong, clock=clock)
    for _ in range(2):
        clock.sleep(3000.0)
        sink.on_status(usb_status())
        sink.on_clock_set(1.0)
    assert len(rows(path)) == 1
    clock.sleep(3601.0)
    sink.on_status(usb_status())
    assert rows(path) == []
    sink.close()


def test_the_journal_is_written_from_whatever_thread_listens(tmp_path: Path, messages: Messages) -> None:
    sink = journal(tmp_path / "events.db", messages, Clock())
    kinds: list[Kind] = ["begin", "end"]
    for kind in kinds:
        thread = threading.Thread(target=sink.on_event, args=(change(kind),))
        thread.start()
        thread.join()
    assert rows(tmp_path / "events.db") == [("a dog barks", 2, 0)]
    closing = threading.Thread(target=sink.close)
    closing.start()
    closing.join()
    assert messages == []


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, messages: Messages) -> None:
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE events (x)")
    database.commit()
    database.close()
    (tmp_path / "text.db").write_text("not a database at all, but long enough to be one " * 50)
    for name in ("other.db", "text.db", "nowhere/a.db"):
        with pytest.raises(OutputError, match="journal"):
            journal(tmp_path / name, messages, Clock())
    assert (tmp_path / "text.db").read_text().startswith("not a database")


def test_a_journal_that_is_held_by_another_is_told_once_and_tried_again(tmp_path: Path, messages: Messages) -> None:
    sink = journal(tmp_path / "events.db", messages, Clock())
    sink._database.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    sink.on_event(change("begin", 1))
    sink.on_event(change("end", 1))
    other.execute("ROLLBACK")
    other.close()
    sink.on_event(change("begin", 2, text="rain"))
    assert [kind for kind, _ in messages] == ["warning", "note"]
    # what was announced meanwhile is not lost
    assert sorted(rows(tmp_path / "events.db")) == [("a dog barks", 2, 0), ("rain", 2, 1)]
    sink.close()


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("4w", 2_419_200)])
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    with pytest.raises(ConfigError, match="invalid duration"):
        parse_duration(text[:-1])


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def test_metrics_are_served_on_this_machine_and_follow_the_listener() -> None:
    metrics = Metrics("0", ignore)
    status = usb_status(heard=12.5, events=3)
    assert get(f"http://127.0.0.1:{metrics.port}/metrics") == ""  # nothing is known yet
    metrics.on_status(status)
    lines = get(f"http://127.0.0.1:{metrics.port}/metrics").splitlines()
    assert 'edgecap_events_total{source="USB"} 3' in lines
    assert 'edgecap_heard_seconds_total{source="USB"} 12.5' in lines
    assert "# TYPE edgecap_hop_seconds gauge" in lines
    assert not any("celsius" in line for line in lines)  # unknown, so not there
    metrics.on_status(replace(status, events=4, celsius=51.5))
    assert 'edgecap_events_total{source="USB"} 4' in get(f"http://127.0.0.1:{metrics.port}/metrics")
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"http://127.0.0.1:{metrics.port}/")
    refused.value.close()
    with pytest.raises(OutputError, match=f"127.0.0.1:{metrics.port} .*choose another port"):
        Metrics(str(metrics.port), ignore)
    metrics.close()


def test_a_visitor_of_the_metrics_who_leaves_early_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("0", ignore)
    metrics.on_status(
        StatusSnapshot(source="x" * 200_000, asked_hop=2.0, hop=2.0)
    )  # more than the system holds for a visitor
    with socket.create_connection(("127.0.0.1", metrics.port), timeout=20) as plain:
        plain.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        plain.recv(100)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
    metrics.on_status(usb_status())
    assert "edgecap_events_total" in get(f"http://127.0.0.1:{metrics.port}/metrics")
    metrics.close()
    assert capfd.readouterr().err == ""


def test_every_metric_has_help_and_type_and_a_number() -> None:
    status = StatusSnapshot(source='a "b"\\', asked_hop=2.0, hop=2.0, celsius=40.0, floor=-70.0)
    lines = render([status]).splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == len(lines) / 3
    for line in lines[2::3]:
        assert '{source="a \\"b\\"\\\\"} ' in line
        float(line.rsplit(" ", 1)[1])


@pytest.mark.parametrize(
    ("text", "parsed"), [("9100", ("127.0.0.1", 9100)), ("0.0.0.0:80", ("0.0.0.0", 80)), ("[::1]:80", ("::1", 80))]
)
def test_addresses(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize("text", ["", "host:", "70000", "a:b"])
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="invalid address"):
        parse_address(text)


def test_the_live_view_shows_level_gate_caption_recent_events_and_faults() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = LiveView(console)
    status = StatusSnapshot(
        source="USB [mic]",
        asked_hop=2.0,
        hop=4.0,
        level=-31.5,
        floor=-70.0,
        gate_open=True,
        heard=3700.0,
        dropped=7,
        celsius=81.0,
        throttled=True,
        seconds=0.05,
        fault="digital silence",
        beams=(("a dog barks", -0.4), ("a wolf", -0.9)),
    )
    view.on_status(status)
    for item in story():
        view.on_event(item)
    view.notify("warning", "the microphone [is] gone")
    view.on_status(replace(status, event=change("begin").event))
    with console.capture() as capture:
        console.print(view.render())
    shown = capture.get()
    for words in (
        "USB [mic]",
        "1:01:40",
        "-31.5 dBFS",
        "gate open",
        "a dog barks",
        "-0.90 a wolf",
        "hop 4 s",
        "dropped 7",
        "81 °C throttled",
        "digital silence",
        "real-time factor 0.013",
    ):
        assert words in shown
    view.close()
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "edgecap: warning: the microphone [is] gone" in output
