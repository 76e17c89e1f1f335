"""Listeners whose settings change while they listen: all of them between two steps, in the listening thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError
from edgecap.live.config.kept_settings import KeptSettings
from edgecap.live.config.listen_config import ListenConfig, microphones
from edgecap.live.config.live_settings import LiveBox, LiveSettings, live_settings
from edgecap.live.events.event import Change
from edgecap.live.events.rules import check_words
from edgecap.live.listener import IDLE_POLL, Listener
from edgecap.live.pipeline.gate import Gate, GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import StreamStep
from edgecap.live.sources.source import NOTHING, Chunk
from edgecap.types import LogMel, Notify, Waveform
from edgecap.util.parsing import parse_address


class AdjustableListener(Listener):
    """A listener that can be paused, and get another gate, hop or filter."""

    def adjust(self, settings: ListenerSettings, live: LiveSettings) -> StreamStep:
        """Go on with other settings, shown as `live`; what that ends. Window, beam and the like are as before."""
        before, self._settings = self._settings, settings
        if settings.gate != before.gate:
            floor = None if self._gate is None else self._gate.floor
            self._gate = Gate(settings.gate, floor) if settings.gate else None
        if settings.hop != before.hop:
            self._hops.ask(settings.hop, self.heard)
        self._events.adjust(settings.events)
        if settings.paused != before.paused:
            self._restart()
        self._update(live=live, asked_hop=settings.hop)
        return self._end_step(self._events.finish() if settings.paused else [])

    @property
    def patience(self) -> float:
        """As of any listener; in a pause nothing is due."""
        return IDLE_POLL if self._settings.paused else super().patience

    def step(self, wait: float | None = None) -> StreamStep:
        """As of any listener; in a pause the sound is passed over."""
        if not self._settings.paused:
            return super().step(wait)
        self._pass_over(self._read(self.patience if wait is None else wait))
        self._mailbox.poll()
        return self._end_step([])

    def _pass_over(self, chunk: Chunk) -> None:
        """Sound counts as time, and nothing of it is looked at."""
        if not chunk.samples.size:
            self._liveness.no_samples()
            return
        lost = self.time.missing(chunk.samples.size, chunk.lost)
        self._liveness.samples()
        self.time.add(lost + chunk.samples.size / self._rate)

    def _restart(self) -> None:
        """What comes next does not continue what was heard, of which no more is described."""
        self._mailbox.empty()
        self._mailbox.poll()
        self._held_up = self._loud = False
        self._mel.restart()
        self._meter.restart()
        self._hops.restart(self.heard)
        self._considered = self.heard
        if self._gate is not None:
            self._gate.close()

    def _end_step(self, changes: list[Change], samples: Waveform = NOTHING, frames: LogMel | None = None) -> StreamStep:
        step = super()._end_step(changes, samples, frames)
        if not self._settings.paused:
            return step
        self._update(gate_open=False)
        self.status = self._status
        return replace(step, status=self._status)


def live_box(config: ListenConfig, captioner: Captioner, window: float, notify: Notify) -> LiveBox:
    """The settings as configured, the way for others, and those of the page before a restart, asked for anew."""
    configured, check, address = live_settings(config), partial(_check, captioner, window), config.web.address
    kept = None if address is None else KeptSettings.of_page(parse_address(address)[1], configured, notify)
    box = LiveBox(configured, check, None if kept is None else kept.save)
    before = configured if kept is None else kept.load(check)
    if kept is not None and before != configured:
        box.begin(before)
        notify("note", f"what was changed on the page holds over the configuration; to undo that, remove {kept.path}")
    return box


def _check(captioner: Captioner, window: float, live: LiveSettings) -> None:
    """Raises ConfigError."""
    try:
        captioner.check_windows(window=window, hop=live.hop)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    check_words("only", live.only, names=True)
    check_words("ignore", live.ignore, names=True)


class Adjusting:
    """Applies what is asked for in a `LiveBox` to all listeners of a session."""

    def __init__(
        self,
        box: LiveBox,
        config: ListenConfig,
        lowest: float,
        listeners: Sequence[tuple[AdjustableListener, ListenerSettings]],
        notify: Notify,
    ) -> None:
        """Each listener with its own settings; nothing below `lowest` dBFS opens a gate."""
        own = (microphone is not None and microphone.gate is not None for microphone in microphones(config))
        self._box, self._lowest, self._notify = box, lowest, notify
        self._listeners = [(*pair, has_gate) for pair, has_gate in zip(listeners, own, strict=True)]
        for listener, settings in listeners:
            listener.adjust(settings, box.now)

    def steps(self) -> Iterator[StreamStep]:
        """What new settings end; called between two steps."""
        live, before = self._box.take(), self._box.now
        if live is None:
            return
        for listener, settings, own_gate in self._listeners:
            gate = settings.gate if own_gate else gate_settings(live.gate, self._lowest)
            events = replace(
                settings.events,
                min_score=live.min_score,
                min_confidence=live.min_confidence,
                only=live.only,
                ignore=live.ignore,
            )
            adjusted = replace(settings, gate=gate, hop=live.hop, events=events, paused=live.paused)
            yield listener.adjust(adjusted, live)
        self._box.applied(live)
        changed = [f"{name} = {value!r}" for name, value in asdict(live).items() if value != getattr(before, name)]
        if changed:
            until = "" if self._box.lasts else " until edgecap ends"
            self._notify("note", f"changed on the page{until}: {', '.join(changed)}")


def gate_settings(setting: str | float, lowest: float) -> GateSettings | None:
    """The gate for "auto", "off" or a level in dBFS; nothing below `lowest` dBFS opens it."""
    if setting == "off":
        return None
    return GateSettings(lowest_dbfs=lowest, fixed_dbfs=None if isinstance(setting, str) else float(setting))


def settings_of_each(config: ListenConfig, settings: ListenerSettings, lowest: float) -> Iterator[ListenerSettings]:
    """The settings of each source: a microphone may have its own gate."""
    for microphone in microphones(config):
        own = None if microphone is None else microphone.gate
        yield settings if own is None else replace(settings, gate=gate_settings(own, lowest))
