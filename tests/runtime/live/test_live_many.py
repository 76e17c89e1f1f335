"""Several microphones at once: one worker, one count of events, names everywhere; and what becomes of a lost one."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from edgecap.audio.captured import CapturedMicrophone
from edgecap.audio.microphone import InputDevice
from edgecap.audio.sound_cards import plain_name
from edgecap.captioner import Captioner
from edgecap.cli.live_view import LiveView
from edgecap.errors import BundleError, ConfigError, DeviceError
from edgecap.live.config.config_file import load_config
from edgecap.live.config.config_text import render_config
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, microphones
from edgecap.live.events.describe import Described, WindowJob
from edgecap.live.events.event import Change
from edgecap.live.listener import Listener
from edgecap.live.loop import steps
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import StatusSnapshot, StreamStep
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sources import microphones as module
from edgecap.live.sources.microphones import Microphones
from edgecap.live.thermal import Heat
from support.live_parts import Clock, FedSource, change, ignore, says
from support.signals import RATE, noise

Describe = Callable[[WindowJob], Described]


def several(
    captioner: Captioner, number: int, worker: CaptionWorker, describe: Describe
) -> tuple[list[FedSource], list[Listener]]:
    sources, ids = [FedSource(f"mic {place}") for place in range(number)], count(1)
    settings = ListenerSettings(window=4.0, hop=1.0, gate=GateSettings())
    listeners = [
        Listener(
            captioner,
            source,
            settings,
            ignore,
            worker,
            heat=lambda: Heat(None, False, False),
            ids=ids,
            describe=describe,
            number=place,
        )
        for place, source in enumerate(sources)
    ]
    return sources, listeners


def test_sixteen_streams_share_one_thread_and_none_crowds_out_another(captioner: Captioner) -> None:
    threads, served = set(), []

    def describe(job: WindowJob) -> Described:
        threads.add(threading.current_thread().name)
        return says()(job)

    with CaptionWorker() as worker:
        sources, listeners = several(captioner, 16, worker, describe)
        before = threading.active_count()
        changes: list[Change] = []
        for _ in range(5):
            for source in sources:
                source.feed(noise(1))
            for listener in listeners:
                changes += listener.step(0.0).changes
            for listener in listeners:
                assert listener.drain(20)
        for listener in listeners:
            changes += listener.step(0.0).changes
        served = [listener.status.captions for listener in listeners]
        assert threading.active_count() == before
        for listener in listeners:
            changes += listener.finish().changes
    assert threads == {"edgecap captions"}
    assert served == [5] * 16
    begun = [change.event for change in changes if change.kind == "begin"]
    assert sorted(event.id for event in begun) == list(range(1, 17))  # one count for all
    assert {event.source for event in begun} == {f"mic {place}" for place in range(16)}


class Counted:
    """A stream whose steps are counted."""

    def __init__(self, patience: float) -> None:
        self.patience, self.steps = patience, 0

    def step(self, wait: float | None = None) -> StreamStep:
        self.steps += wait == 0.0
        return StreamStep(StatusSnapshot(source="", asked_hop=2.0, hop=2.0))

    def ended(self, duration: float | None = None) -> bool:
        return False

    def finish(self, *, caption_rest: bool = False, drain: float | None = None) -> StreamStep:
        return self.step()

    def close(self) -> None:
        pass


def test_each_of_several_streams_has_its_step_when_its_own_patience_is_over() -> None:
    clock, stop, often, seldom = Clock(), threading.Event(), Counted(1 / 64), Counted(0.25)
    for _ in steps([often, seldom], stop, sleep=clock.sleep, clock=clock):
        if clock.now >= 1001.0:
            stop.set()
    assert (often.steps, seldom.steps) == (65, 5)


def test_a_stream_that_asks_often_waits_its_turn(captioner: Captioner) -> None:
    begun, go, order = threading.Event(), threading.Event(), []

    def work(job: str) -> str:
        begun.set()
        assert go.wait(20)
        order.append(job)
        return job

    with CaptionWorker() as worker:
        boxes = [worker.mailbox(work) for _ in range(3)]
        boxes[0].submit("a1")
        assert begun.wait(20)
        boxes[0].submit("a2")
        boxes[1].submit("b")
        boxes[0].submit("a3")  # replaces a2 and keeps its place
        boxes[2].submit("c")
        go.set()
        assert all(box.drain(20) for box in boxes)
    assert order == ["a1", "a3", "b", "c"]
    assert [box.dropped for box in boxes] == [1, 0, 0]


def test_a_model_that_fails_for_one_stream_ends_all_and_closes_their_events(captioner: Captioner) -> None:
    def describe(job: WindowJob) -> Described:
        if job.end > 2.5:
            raise BundleError("broken")
        return says()(job)

    with CaptionWorker() as worker:
        sources, listeners = several(captioner, 2, worker, describe)
        stop, changes, clock = threading.Event(), list[Change](), Clock()

        def sleep(seconds: float) -> None:
            clock.sleep(seconds)
            for listener in listeners:
                listener.drain(20)
            for source in sources:
                source.feed(noise(1))

        def walk() -> None:
            for step in steps(listeners, stop, sleep=sleep, clock=clock):
                changes.extend(step.changes)

        with pytest.raises(BundleError, match="broken"):
            walk()
    assert [change.kind for change in changes].count("begin") == [change.kind for change in changes].count("end") == 2


def test_windows_that_wait_for_others_make_the_hops_longer(captioner: Captioner) -> None:
    def describe(job: WindowJob) -> Described:
        return replace(says()(job), seconds=0.2, waited=1.0)

    with CaptionWorker() as worker:
        sources, listeners = several(captioner, 1, worker, describe)
        for _ in range(4):
            sources[0].feed(noise(1))
            listeners[0].step(0.0)
            listeners[0].drain(20)
        listeners[0].step(0.0)
        assert listeners[0].status.hop > 1.0


def test_the_end_is_asked_for_while_one_of_several_sleeps_in_the_model(captioner: Captioner) -> None:
    with CaptionWorker() as worker:
        sources, listeners = several(captioner, 3, worker, says())
        stop, clock = threading.Event(), Clock()
        for source in sources:
            source.feed(noise(1))
        all_changes: list[Change] = []
        for step in steps(listeners, stop, sleep=clock.sleep, clock=clock):
            for listener in listeners:
                listener.drain(20)
            all_changes += step.changes
            if len([change for change in all_changes if change.kind == "begin"]) == 3:
                stop.set()
    assert sorted(change.event.source for change in all_changes if change.kind == "end") == ["mic 0", "mic 1", "mic 2"]


TOML = """
[stream]
hop = 3

[[microphones]]
name = "kitchen"
device = "USB"
gate = -45.0

[[microphones]]
device = "1"
"""


def test_microphones_are_named_in_the_configuration_and_give_way_to_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(TOML)
    config = load_config(path)
    kitchen = MicrophoneConfig(device="USB", name="kitchen", gate=-45.0)
    assert microphones(config) == [kitchen, MicrophoneConfig(device="1")]
    path.write_text(render_config(config))
    assert load_config(path) == config
    assert microphones(load_config(path, {"source": {"device": ["a", "b"]}})) == [
        MicrophoneConfig(device="a"),
        MicrophoneConfig(device="b"),
    ]
    assert microphones(load_config(path, {"source": {"device": "a"}})) == [MicrophoneConfig(device="a")]
    assert microphones(ListenConfig()) == [None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[microphones]]\ndevice = "a"\n[[microphones]]\ndevise = "b"\n', r"a\.toml:4: .* has no key 'devise'"),
        ('[[microphones]]\ndevice = "a"\n[[microphones]]\ndevice = 3\n', r"a\.toml:4: .* number 2, device"),
        (
            '[stream]\nhop = 1\n[[microphones]]\nname = "a"\n',
            r"a\.toml:3: .* number 1 needs one of device, rtsp, pulse, pipewire$",
        ),
        ('[microphones]\ndevice = "a"\n', r"a\.toml:1: microphones must be written as \[\[microphones\]\]"),
        ('[source]\ndevice = "x"\n[[microphones]]\ndevice = "a"\n', r"a\.toml:3: microphones are named by"),
    ],
)
def test_a_wrong_list_of_microphones_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_config(tmp_path / "a.toml")


def device(name: str, index: int = 0) -> InputDevice:
    return InputDevice(index, name, 1, float(RATE), "ALSA", False)


class Plugged:
    """What is plugged in where, in place of the processes that capture, and of the kernel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.devices = [device(name, index) for index, name in enumerate(names)]
        self.ports: dict[str, str] = {}
        self.refused = set[str]()
        self.searches = 0
        """Processes that were started."""
        plugged = self

        class Captured:
            device: InputDevice

            def __init__(self, choose: Callable[[Sequence[InputDevice]], InputDevice], _ring_seconds: float) -> None:
                plugged.searches += 1
                self.active, self.waits, self._choose = True, 1, choose

            def settled(self, _seconds: float = 0.0) -> bool:
                self.waits -= 1
                return self.waits < 0

            def opened(self) -> Captured:
                self.device = self._choose(plugged.devices)
                if self.device.name in plugged.refused:
                    raise DeviceError("it is busy")
                return self

            def close(self) -> None:
                self.active = False

        monkeypatch.setattr(module, "CapturedMicrophone", Captured)
        monkeypatch.setattr(module, "port_of", self.ports.get)
        monkeypatch.setattr(module, "CARDS", Path("/nowhere"))


def opened_again(opener: Microphones, name: str, known: bool = True) -> CapturedMicrophone:
    """Ask until the process has answered."""
    with suppress(DeviceError):
        return opener.open_again(name, known)
    return opener.open_again(name, known)


def test_a_microphone_is_found_again_though_its_number_is_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_name("USB PnP: Audio (hw:1,0)") == "USB PnP: Audio"
    plugged, opener = Plugged(monkeypatch, "USB PnP: Audio (hw:1,0)"), Microphones(2.0)
    first = opener.open("USB")
    first.close()
    plugged.devices = [device("HDMI (hw:1,0)", 0), device("USB PnP: Audio (hw:2,0)", 1)]
    assert opened_again(opener, first.device.name).device.name == "USB PnP: Audio (hw:2,0)"
    assert plugged.searches == 2


def test_of_two_alike_the_one_at_its_plug_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged = Plugged(monkeypatch, "USB: Audio (hw:1,0)", "USB: Audio (hw:2,0)")
    plugged.ports |= {"USB: Audio (hw:1,0)": "left", "USB: Audio (hw:2,0)": "right"}
    opener = Microphones(2.0)
    left = opener.open("hw:1")
    left.close()
    plugged.ports |= {"USB: Audio (hw:1,0)": "right", "USB: Audio (hw:2,0)": "left"}  # numbers were dealt anew
    assert opened_again(opener, left.device.name).device.name == "USB: Audio (hw:2,0)"


def test_the_others_go_on_while_one_is_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "kitchen (hw:1,0)", "attic (hw:2,0)"), Clock()
    opener = Microphones(2.0, clock)
    kitchen, attic = opener.open("kitchen"), opener.open("attic")
    attic.close()
    plugged.devices = [device("kitchen (hw:1,0)", 0)]
    assert len(searches(opener, plugged, clock, attic.device.name, 30)) >= 5
    assert kitchen.active
    plugged.devices.append(device("attic (hw:3,0)", 1))
    clock.sleep(30.0)
    assert opened_again(opener, attic.device.name).device.name == "attic (hw:3,0)"
    assert kitchen.active
    opener.close()


def test_two_that_are_missing_are_searched_for_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "kitchen (hw:1,0)", "attic (hw:2,0)"), Clock()
    opener = Microphones(2.0, clock)
    names = [opener.open(name).device.name for name in ("kitchen", "attic")]
    for name in names:
        with pytest.raises(DeviceError, match="yet"):
            opener.open_again(name, True)
    assert [opener.open_again(name, True).device.name for name in names] == names
    assert plugged.searches == 4


def test_a_part_of_a_name_does_not_take_a_microphone_that_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "USB one (hw:1,0)"), Clock()
    opener = Microphones(2.0, clock)
    opener.open("USB one")
    with pytest.raises(DeviceError):
        opened_again(opener, "USB", known=False)
    plugged.devices.append(device("USB two (hw:2,0)", 1))
    clock.sleep(30.0)
    assert opened_again(opener, "USB", known=False).device.name == "USB two (hw:2,0)"


def searches(opener: Microphones, plugged: Plugged, clock: Clock, name: str, seconds: int) -> list[int]:
    """The seconds of an absence, asked once a second, in which a process is started."""
    starts = []
    for second in range(seconds):
        before = plugged.searches
        with suppress(DeviceError):
            opener.open_again(name, True)
        if plugged.searches > before:
            starts.append(second)
        clock.sleep(1.0)
    return starts


def test_one_that_is_away_for_long_is_looked_for_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "kitchen (hw:1,0)"), Clock()
    opener = Microphones(2.0, clock)
    kitchen, plugged.devices = opener.open("kitchen"), []
    kitchen.close()
    times = searches(opener, plugged, clock, kitchen.device.name, 300)
    assert times[:5] == [0, 2, 4, 6, 8]
    assert all(after - before <= max(2, after / 4 + 1) for before, after in pairwise(times))
    assert all(after - before == 30 for before, after in pairwise(times) if before > 120)
    assert len(times) <= 20


def test_a_short_absence_soon_after_another_is_as_short(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "kitchen (hw:1,0)"), Clock()
    opener = Microphones(2.0, clock)
    kitchen, devices = opener.open("kitchen"), plugged.devices
    for _ in range(5):
        kitchen.close()
        plugged.devices = []
        assert searches(opener, plugged, clock, kitchen.device.name, 10) == [0, 2, 4, 6, 8]
        plugged.devices = devices
        clock.sleep(1.0)
        kitchen = opened_again(opener, kitchen.device.name)
        opener.heard(kitchen.device.name)
        clock.sleep(5.0)


def test_one_that_opens_and_gives_nothing_is_opened_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    Plugged(monkeypatch, "kitchen (hw:1,0)")
    opener = Microphones(2.0, clock)
    kitchen, opened = opener.open("kitchen"), 0
    for _ in range(120):
        kitchen.close()
        with suppress(DeviceError):
            kitchen = opener.open_again(kitchen.device.name, True)
            opened += 1
        clock.sleep(1.0)
    assert 3 <= opened <= 17


def test_one_that_is_seen_and_does_not_open_is_tried_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged, clock = Plugged(monkeypatch, "kitchen (hw:1,0)", "attic (hw:2,0)"), Clock()
    opener = Microphones(2.0, clock)
    kitchen, plugged.refused = opener.open("kitchen"), {"attic (hw:2,0)"}
    assert 3 <= len(searches(opener, plugged, clock, "attic", 120)) <= 17
    assert kitchen.active


def test_a_machine_without_a_free_process_looks_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("edgecap.audio.captured.subprocess.Popen", none_left)
    opener = Microphones(2.0, Clock())
    with pytest.raises(DeviceError, match="cannot be started: Resource temporarily unavailable"):
        opener.open("kitchen")
    with pytest.raises(DeviceError, match="cannot be started"):
        opener.open_again("attic", False)


def test_every_output_names_the_microphone_where_there_are_several(tmp_path: Path) -> None:
    from edgecap.live.sinks import files
    from edgecap.live.sinks.lines import JsonLines, PeopleLines
    from support.live_parts import story

    lines: list[str] = []
    sinks = [
        PeopleLines(lines.append, named=True),
        JsonLines(lines.append, model="tiny"),
        files.srt(str(tmp_path / "a.srt"), ignore, named=True),
        files.vtt(str(tmp_path / "a.vtt"), ignore, named=True),
        files.table(str(tmp_path / "a.csv"), ignore),
    ]
    for item in story():
        for sink in sinks:
            sink.on_event(item)
    for sink in sinks:
        sink.close()
    assert lines[0].endswith("USB: a dog barks")
    assert json.loads(lines[1])["source"] == "USB"
    assert "[USB] a dog barks" in (tmp_path / "a.srt").read_text()
    assert "<v USB>a dog barks" in (tmp_path / "a.vtt").read_text()
    assert (tmp_path / "a.csv").read_text().splitlines()[1].endswith(",USB,,0.633")


def test_the_live_view_shows_each_microphone() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = LiveView(console)
    for number, source in enumerate(("kitchen", "attic")):
        view.on_status(
            StatusSnapshot(source=source, asked_hop=2.0, hop=2.0, number=number, fault="gone" if number else "")
        )
    with console.capture() as capture:
        console.print(view.render())
    view.close()
    shown = capture.get()
    assert shown.index("listening to kitchen") < shown.index("listening to attic") < shown.index("fault: gone")
    assert "attic   hop 2 s" in shown


def test_a_narrow_terminal_shows_the_whole_caption_of_each_event() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40, color_system=None)
    view, text = LiveView(console), "a dog is barking while a vehicle passes by"
    for number in range(2):
        view.on_event(change("begin", number, text))
        source = f"USB Audio Device {number}"
        view.on_status(StatusSnapshot(source=source, asked_hop=2.0, hop=2.0, number=number))
    with console.capture() as capture:
        console.print(view.render())
    view.close()
    assert " ".join(capture.get().split()).count(text) == 2


def test_the_board_is_hot_for_all_and_told_once(captioner: Captioner) -> None:
    messages: list[str] = []
    with CaptionWorker() as worker:
        listeners = [
            Listener(
                captioner,
                FedSource(),
                ListenerSettings(window=4.0, hop=1.0),
                lambda _, text: messages.append(text),
                worker,
                heat=lambda: Heat(90.0, False, False),
                describe=says(),
                number=number,
            )
            for number in range(3)
        ]
        for listener in listeners:
            listener.step(0.0)
        assert [listener.status.hop for listener in listeners] == [2.0] * 3
    assert len(messages) == 1
    assert "hot" in messages[0]


def test_a_real_model_serves_several_files_in_one_thread(tiny_folder: Path, tmp_path: Path) -> None:
    from edgecap_bench.live.listen_streams import run

    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], np.resize(noise(1, seed=number), 3 * RATE), RATE)
    result = run(files, model=str(tiny_folder), seconds=1.5, hop=0.5)
    assert result["captions"] + result["dropped"] >= 3 * 2
    assert result["lost"] == 0.0
    assert result["slowest"] > 0.0
