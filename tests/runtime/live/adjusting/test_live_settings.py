"""Settings that change while edgecap listens: all at once, between two steps, and none that cannot be used."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from edgecap.captioner import Captioner
from edgecap.cli.live_view import LiveView
from edgecap.errors import ConfigError
from edgecap.live.adjusting import AdjustableListener, Adjusting, gate_settings, live_box
from edgecap.live.config.events_config import EventsConfig
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, ModelConfig, SourceConfig, StreamConfig
from edgecap.live.config.live_settings import LiveBox, LiveSettings, live_settings
from edgecap.live.config.web_config import WebConfig
from edgecap.live.events.event import Change, EventBuilder
from edgecap.live.pipeline.hop_control import HopControl
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.session import ListenSession
from edgecap.live.sinks.metrics import render
from edgecap.live.thermal import Heat
from edgecap.live.watchdog import status_line
from edgecap.web.page import status_document
from support.live_parts import FedSource, Messages, Recorder, described, ignore, notifier, usb_status
from support.ports import free_port
from support.signals import RATE, noise

Listen = Callable[..., AdjustableListener]
SETTINGS = ListenerSettings(window=4.0, hop=1.0, gate=gate_settings("auto", -65.0))
PAUSED = LiveSettings(paused=True)


@pytest.fixture
def listener(captioner: Captioner) -> Iterator[Callable[[FedSource, Recorder], AdjustableListener]]:
    with CaptionWorker() as worker:

        def make(source: FedSource, describe: Recorder) -> AdjustableListener:
            cool = Heat(celsius=None, throttled=False, undervoltage=False)
            return AdjustableListener(captioner, source, SETTINGS, ignore, worker, heat=lambda: cool, describe=describe)

        yield make


def hear(listening: AdjustableListener, source: FedSource, seconds: int, level: float = 0.1) -> list[Change]:
    changes: list[Change] = []
    for _ in range(seconds):
        source.feed(noise(1, level=level))
        changes += listening.step().changes
        assert listening.drain(20)
    return changes


def test_in_a_pause_sound_is_neither_described_nor_shown_nor_kept_and_counts_as_time(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()
    listening = listener(source, describe)
    assert [change.kind for change in hear(listening, source, 4)] == ["begin", "update"]
    ended = listening.adjust(replace(SETTINGS, paused=True), PAUSED)
    assert [change.kind for change in ended.changes] == ["end"]
    assert ended.status.live.paused
    jobs = len(describe.jobs)
    for _ in range(10):
        source.feed(noise(1))
        step = listening.step()
        assert (step.changes, step.samples.size, step.frames) == ((), 0, None)
    assert (step.status.heard, step.status.gate_open, step.status.lost) == (14.0, False, 0.0)
    assert len(describe.jobs) == jobs
    listening.adjust(SETTINGS, LiveSettings())
    changes = hear(listening, source, 4)
    assert {job.start >= 13.9 for job in describe.jobs[jobs:]} == {True}  # nothing of the pause is in a window
    assert changes[0].kind == "begin"
    assert changes[0].event.start >= 13.9
    assert not listening.status.live.paused


def test_a_caption_that_is_being_made_when_the_pause_begins_is_dropped(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()
    listening = listener(source, describe)
    source.feed(noise(1))
    listening.step()
    listening.adjust(replace(SETTINGS, paused=True), PAUSED)
    assert listening.drain(20)
    listening.step()
    listening.adjust(SETTINGS, LiveSettings())
    assert listening.step().changes == listening.finish().changes == ()


def test_a_level_takes_the_place_of_the_noise_floor_and_back(listener: Listen) -> None:
    source, describe = FedSource(), Recorder()
    listening = listener(source, describe)
    loud = replace(SETTINGS, gate=gate_settings(-10.0, -65.0))
    listening.adjust(loud, LiveSettings(gate=-10.0))
    hear(listening, source, 3)
    assert (describe.jobs, listening.status.gate_open) == ([], False)
    floor = listening.status.floor
    listening.adjust(replace(SETTINGS, gate=None), LiveSettings(gate="off"))
    assert listening.status.floor is None
    hear(listening, source, 2, level=1e-4)
    assert len(describe.jobs) == 2
    listening.adjust(loud, LiveSettings(gate=-10.0))
    listening.adjust(SETTINGS, LiveSettings())
    assert floor is not None
    hear(listening, source, 3)
    assert len(describe.jobs) > 2


def test_another_hop_begins_at_once_and_skips_nothing() -> None:
    hops = HopControl(60.0)
    assert not hops.due(50.0)
    hops.ask(2.0, 50.0)
    assert [hops.due(51.0), hops.due(52.0), hops.due(54.0)] == [False, True, True]
    hops.ask(10.0, 54.0)
    assert [hops.due(55.9), hops.due(56.0), hops.due(65.0), hops.due(66.0)] == [False, True, False, True]
    assert (hops.late, hops.asked, hops.hop) == (0, 10.0, 10.0)
    hops.board_is(hot=True)
    hops.ask(4.0, 66.0)
    assert hops.hop == 8.0


def test_filters_judge_what_waits_and_what_comes_and_leave_what_goes_on() -> None:
    builder = EventBuilder(EventsConfig(settle=0.0))
    assert [change.kind for change in builder.add(described("a dog barks", 0, 2))] == ["begin"]
    builder.adjust(EventsConfig(settle=6.0, ignore=("dog",)))
    assert [change.kind for change in builder.add(described("a dog barks", 1, 3))] == ["update"]
    assert builder.add(described("rain falls", 2, 4, sound=1)) == []
    builder.adjust(EventsConfig(settle=6.0, ignore=("rain",)))
    assert (builder.unsettled, builder.suppressed) == (False, 1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"hop": 0.1}, "hop must be a number from 0.5 to 600"),
        ({"hop": float("nan")}, "hop"),
        ({"hop": None}, "hop"),
        ({"gate": 5}, "gate"),
        ({"gate": "loud"}, "gate"),
        ({"min_score": 1}, "min_score"),
        ({"min_confidence": 50}, "min_confidence"),
        ({"only": "dog"}, "only"),
        ({"only": ["the"]}, "not a content word"),
        ({"ignore": ["x" * 101]}, "at most 100"),
        ({"ignore": ["dog"] * 1001}, "ignore"),
        ({"paused": 1}, "paused"),
        ({"beam": 3}, "there is no setting 'beam'"),
        ({"paused": True, "hop": "2"}, "hop"),
    ],
)
def test_what_cannot_be_used_is_refused_as_a_whole(captioner: Captioner, given: dict[str, object], reason: str) -> None:
    box = live_box(ListenConfig(), captioner, 4.0, ignore)
    with pytest.raises(ConfigError, match=reason):
        box.ask(given, 0.0)
    assert (box.take(), box.now) == (None, live_settings(ListenConfig()))


def test_what_was_changed_on_the_page_holds_after_a_restart_until_the_configuration_changes(
    captioner: Captioner, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    soundfile.write(tmp_path / "noise.wav", noise(1), RATE)
    config = ListenConfig(
        source=SourceConfig(file=str(tmp_path / "noise.wav"), speed=0.0),
        model=ModelConfig(name=str(tiny_folder)),
        web=WebConfig(address=str(free_port())),
    )

    def start(config: ListenConfig) -> LiveSettings | None:
        return live_box(config, captioner, 4.0, notifier(messages)).take()

    messages, configured = Messages(), live_settings(config)
    live_box(config, captioner, 4.0, ignore).ask({"hop": 5, "only": ["dog"], "paused": True}, 0.0)
    chosen = replace(configured, hop=5.0, only=("dog",), paused=True)
    assert start(config) == chosen
    assert start(replace(config, web=WebConfig(address="1"))) is None  # another page
    assert start(replace(config, stream=StreamConfig(hop=3.0))) == replace(chosen, hop=3.0)
    (path,) = (tmp_path / "state").rglob("page-*.json")
    assert {kind for kind, _ in messages} == {"note"}
    assert all(str(path) in text for _, text in messages)
    with ListenSession(config, ignore) as session:
        assert session.status.live == chosen  # before anything is heard
        box = session._adjusting._box
        box.ask(json.loads(json.dumps(asdict(configured))), 0.0)
    assert not path.exists()
    for damaged in ("{", "[]", '{"hop": 1}', '{"hop": {"configured": 2.0, "chosen": 0}}'):
        path.write_text(damaged)
        assert start(config) is None
        assert messages[-1][0] == "warning"


def test_who_asks_waits_until_the_listening_thread_has_taken_all_of_it() -> None:
    box = LiveBox(LiveSettings(), lambda _settings: None)
    assert box.ask({"hop": 3.0}, 0.0) == (LiveSettings(hop=3.0), False)
    answers: list[tuple[LiveSettings, bool]] = []
    thread = threading.Thread(target=lambda: answers.append(box.ask({"paused": True}, 20.0)))
    thread.start()
    while (asked := box.take()) is None or not asked.paused:
        pass
    box.applied(asked)
    thread.join(20)
    assert answers == [(LiveSettings(hop=3.0, paused=True), True)]
    assert (box.now, box.take()) == (asked, None)


def test_a_session_applies_them_to_every_stream_and_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", noise(30), RATE)
    config = ListenConfig(
        source=SourceConfig(file=str(tmp_path / "noise.wav"), speed=0.0),
        model=ModelConfig(name=str(tiny_folder)),
        stream=StreamConfig(hop=1.0),
        events=EventsConfig(min_score=-99.0, settle=0.0),
    )
    messages = Messages()
    with ListenSession(config, notifier(messages)) as session:
        box = session._adjusting._box
        kinds: list[str] = []
        for change in session.changes(threading.Event()):
            kinds.append(change.kind)
            if change.kind == "begin":
                assert box.ask({"paused": True, "gate": -30}, 0.0)[1] is False
        assert kinds[:2] == ["begin", "end"]
        assert len([kind for kind in kinds if kind == "begin"]) == 1
        assert box.now == replace(live_settings(config), paused=True, gate=-30.0)
        assert session.status.live == box.now
        assert session.status.heard == 30.0
    assert ("note", "changed on the page until edgecap ends: paused = True, gate = -30.0") in messages


def test_a_microphone_keeps_its_own_gate(captioner: Captioner) -> None:
    config = ListenConfig(microphones=[MicrophoneConfig(device="a", gate=-20.0), MicrophoneConfig(device="b")])
    box = live_box(config, captioner, 4.0, ignore)
    with CaptionWorker() as worker:
        own = replace(SETTINGS, gate=gate_settings(-20.0, -65.0))
        pairs = [
            (AdjustableListener(captioner, FedSource(), settings, ignore, worker), settings)
            for settings in (own, SETTINGS)
        ]
        adjusting = Adjusting(box, config, -65.0, pairs, ignore)
        box.ask({"gate": "off", "hop": 3.0}, 0.0)
        assert [step.status.floor is None for step in adjusting.steps()] == [False, True]
        assert [listening.status.asked_hop for listening, _ in pairs] == [3.0, 3.0]
        assert list(adjusting.steps()) == []
    assert np.isclose(box.now.hop, 3.0)


def test_every_view_says_that_listening_is_paused() -> None:
    status = usb_status(live=PAUSED)
    assert 'edgecap_paused{source="USB"} 1' in render([status])
    assert status_line([status], "listening").endswith("0 events, paused")
    assert status_document(status)["settings"] == asdict(PAUSED)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100, color_system=None)
    view = LiveView(console)
    view.on_status(status)
    console.print(view.render())
    view.close()
    assert "paused on the page" in shown.getvalue()
