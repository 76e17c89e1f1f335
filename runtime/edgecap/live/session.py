"""From a configuration to running listeners and the sinks that their events go to."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal, Self

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError
from edgecap.live.adjusting import AdjustableListener, Adjusting, gate_settings, live_box, settings_of_each
from edgecap.live.clocks import Clocks
from edgecap.live.config.listen_config import ListenConfig, microphones
from edgecap.live.events.alerts import chosen
from edgecap.live.events.event import Change
from edgecap.live.events.rules import Routed, Rules, check_words
from edgecap.live.loop import DRAIN_SECONDS, steps
from edgecap.live.named_listener import NamedListener
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import StatusSnapshot, StreamStep
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.live.sinks.guard import GuardedSink
from edgecap.live.sinks.registry import open_sinks
from edgecap.live.sources.opening import open_sources
from edgecap.live.threads import load_listening, slower_way
from edgecap.live.watchdog import STUCK_SECONDS, Watchdog
from edgecap.sounds.store import SoundStore
from edgecap.teaching.watched import WatchedSounds
from edgecap.types import Notify
from edgecap.util.text import clean

LOOK_SECONDS = 2.0
"""From one look for newly taught sounds to the next."""


class ListenSession:
    """Open sources, one loaded model and open sinks. Use it as a context manager.

    It owns the sinks: nothing else calls them, and it does so from the thread that iterates over `changes`.
    """

    def __init__(self, config: ListenConfig, notify: Notify, *, sinks: Sequence[Sink] = ()) -> None:
        """Open everything; `sinks` come after those that store events, before the others.

        What was opened is closed again where something fails. Raises BundleError, DeviceError, AudioError, OutputError,
        ConfigError, MissingDependencyError.
        """
        self.config = config
        notify = partial(_notify_cleaned, notify)
        captioner, threads = load_listening(config, len(microphones(config)))
        if config.model.threads is None and threads.threads > 1:
            notify("note", f"using {threads.threads} processor threads: {threads.reason}")
        self._taught, self._look_at = WatchedSounds(captioner, SoundStore(), notify), float("-inf")
        self.captioner = captioner.with_sounds(self._taught)
        if slower := slower_way(captioner):
            notify("warning", slower)
        self.model = self.captioner.manifest.name
        settings = _settings(config, self.captioner)
        self._rules = Rules(config.rules)
        live = live_box(config, self.captioner, settings.window, notify)
        with ExitStack() as stack:
            self.worker = CaptionWorker()
            stack.callback(self.worker.close, DRAIN_SECONDS)  # last: a caption that never ends holds up no output
            self._sinks: list[GuardedSink] = []
            stack.callback(self._taught.close)
            self._context = SinkContext(config, self.captioner, notify, live)
            for sink in open_sinks(self._context, sinks):
                stack.callback(sink.close)
                self._sinks.append(sink)
            rate = self.captioner.manifest.front_end.sample_rate
            self._sources = list(open_sources(config, rate, settings.window, notify, stack))
            _check_sources(config, self.sources, notify)
            self._watchdog, self._clocks, self._notify, self._stuck = Watchdog(), Clocks(), notify, False
            stack.callback(self._watchdog.stop)
            ids, several = count(1), len(self._sources)
            lowest = self.captioner.manifest.silence.threshold_dbfs
            each = [
                replace(own, phase=number * settings.hop / several)
                for number, own in enumerate(settings_of_each(config, settings, lowest))
            ]
            listeners = [
                AdjustableListener(
                    self.captioner,
                    source,
                    own,
                    notify,
                    self.worker,
                    clocks=self._clocks,
                    followed=self._followed,
                    ids=ids,
                    number=number,
                )
                for number, (source, own) in enumerate(zip(self._sources, each, strict=True))
            ]
            pairs = list(zip(listeners, each, strict=True))
            self._adjusting = Adjusting(live, config, lowest, pairs, notify)
            for _ in self._adjusting.steps():  # what was changed before a restart
                pass
            alerts, front_end = chosen(config.events.alerts), self.captioner.manifest.front_end
            self._listeners = [
                NamedListener(listener, front_end, config.events, alerts, ids=ids, number=number)
                for number, listener in enumerate(listeners)
            ]
            self._resources = stack.pop_all()

    @property
    def sources(self) -> list[str]:
        """Names of the sources; a microphone's own is known when it is open."""
        return [source.name for source in self._sources]

    @property
    def status(self) -> StatusSnapshot:
        """The status of the first source."""
        return self._listeners[0].status

    @property
    def statuses(self) -> list[StatusSnapshot]:
        """The status of each source."""
        return [listener.status for listener in self._listeners]

    def changes(self, stop: threading.Event) -> Generator[Change]:
        """Changes of events, each after every sink got it, until `stop` is set or the sound ends.

        Where the caller leaves before the end, or a sink fails, the other sinks still get the end of open events.
        Raises what `edgecap.live.loop.steps` does, and OutputError from a sink.
        """
        try:
            for step in steps(self._listeners, stop, self.config.stream.duration):
                changes = self._dispatch(step)
                self._watchdog.beat(self.statuses, self.worker.busy_seconds)
                yield from changes
                for adjusted in self._adjusting.steps():
                    yield from self._dispatch(adjusted)
                self._check_clocks()
                self._check_worker()
                self._check_sounds()
        except BaseException:
            self._end_events()
            raise

    def close(self) -> None:
        """Close the sources, then the sinks, which deliver what is left within a few seconds."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _followed(self) -> bool:
        """Whether a sink follows the sound now."""
        return any(sink.followed for sink in self._sinks)

    def _dispatch(self, step: StreamStep) -> list[Change]:
        """Give a step to the sinks; its changes, whose events name their rules."""
        status = step.status
        for sink in self._sinks:
            if step.frames is not None and sink.wants_frames:
                sink.on_frames(status.source, step.frames)
            if step.samples.size and sink.wants_audio:
                sink.on_audio(status.source, step.samples, status.heard)
        changes = [self._give(change) for change in step.changes]
        for sink in self._sinks:
            sink.on_status(status)
        return changes

    def _give(self, change: Change) -> Change:
        """Give a change to the sinks that the rules choose; it, with the names of its rules."""
        routed = self._rules.apply(change)
        for sink, given in self._recipients(routed):
            sink.on_event(given)
        return routed.change

    def _recipients(self, routed: Routed) -> Iterator[tuple[GuardedSink, Change]]:
        """The sinks that get something of a change, and what."""
        for sink in self._sinks:
            given = self._rules.given(routed, sink.output)
            if given is not None:
                yield sink, given

    def _end_events(self) -> None:
        """Close open events, and give their ends to every sink that takes them."""
        for listener in self._listeners:
            for change in listener.finish(drain=None).changes:
                for sink, given in self._recipients(self._rules.apply(change)):
                    with suppress(Exception):  # the first failure is raised, not those that follow from it
                        sink.on_event(given)

    def _check_clocks(self) -> None:
        """React to a clock that was set or a machine that was suspended (`edgecap.live.clocks`)."""
        jump = self._clocks.look()
        if jump is None:
            return
        if jump.suspended:
            self._notify("note", f"the machine was suspended for {jump.suspended:.0f} s; listening again")
        if jump.clock_set:
            self._notify(
                "warning",
                f"the system's clock was set {'forward' if jump.clock_set > 0 else 'back'} by "
                f"{abs(jump.clock_set):.0f} s; open events are dated by the new time",
            )
            self._rules.clock_set(jump.clock_set)
            for listener in self._listeners:
                listener.clock_set(jump.clock_set)
            for sink in self._sinks:
                sink.on_clock_set(jump.clock_set)

    def _check_worker(self) -> None:
        """Report once that a caption does not finish, which no new window can help."""
        if self.worker.busy_seconds > STUCK_SECONDS and not self._stuck:
            self._stuck = True
            self._notify("warning", f"a caption has taken {STUCK_SECONDS:.0f} s; no event begins until it is done")

    def _check_sounds(self) -> None:
        """Follow what is taught and removed meanwhile."""
        if (now := time.monotonic()) < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        if self._taught.look():
            for sink in self._sinks:
                sink.on_sounds(self._context.sounds)


def _notify_cleaned(notify: Notify, kind: Literal["note", "warning"], message: str) -> None:
    """Pass a message on without what names, paths and libraries may put into it."""
    notify(kind, clean(message))


def _settings(config: ListenConfig, captioner: Captioner) -> ListenerSettings:
    """The listener's part of a configuration. Raises ConfigError for an invalid window, hop or filter."""
    stream, events = config.stream, config.events
    window = captioner.window if stream.window is None else stream.window
    try:
        captioner.check_windows(window=window, hop=stream.hop)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    chosen(events.alerts)  # refuses what there is not
    for key, words in (("only", events.only), ("ignore", events.ignore)):
        check_words(f"events.{key}", words, names=True)
    gate = gate_settings(stream.gate, captioner.manifest.silence.threshold_dbfs)
    return ListenerSettings(
        window=window,
        hop=stream.hop,
        beam=config.model.beam,
        gate=gate,
        novelty=stream.novelty,
        events=events,
        constant_after=stream.constant_after,
        lost_after=config.source.lost_after,
        audio_kept=str(Path(config.output.keep_audio).expanduser()) if config.output.keep_audio is not None else "",
    )


def _check_sources(config: ListenConfig, names: Sequence[str], notify: Notify) -> None:
    """Refuse a rule for a microphone that there is not; where one may still get its name, only say so.

    Raises ConfigError.
    """
    here = {name.casefold() for name in names}
    named = all(microphone is None or microphone.name for microphone in microphones(config))
    for rule in config.rules:
        for source in rule.sources:
            if source.casefold() not in here:
                message = f"rule {rule.name}: no microphone is called {source!r}; there are {', '.join(names)}"
                if named and config.microphones:
                    raise ConfigError(message)
                notify("warning", f"{message}; give each a name in [[microphones]]")
