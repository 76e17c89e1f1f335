"""From a configuration to a running listener with everything that its events go to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Self

import numpy as np

from edgecap.captioner import Captioner
from edgecap.errors import AudioError, ConfigError
from edgecap.live.clocks import Clocks
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, microphones
from edgecap.live.events.event import Change, EventSettings
from edgecap.live.events.similarity import stems
from edgecap.live.listener import Listener
from edgecap.live.loop import DRAIN_SECONDS, steps
from edgecap.live.pipeline.gate import GateSettings
from edgecap.live.pipeline.settings import ListenerSettings
from edgecap.live.pipeline.status import Status
from edgecap.live.pipeline.worker import CaptionWorker
from edgecap.live.sinks.base import Sink
from edgecap.live.sources.source import AudioSource, Tell
from edgecap.live.watchdog import Watchdog


class ListenSession:
    """Open sources, one loaded model and open outputs. Use it as a context manager."""

    def __init__(self, config: ListenConfig, tell: Tell, *, sinks: Sequence[Sink] = ()) -> None:
        """Open all of it; `sinks` are told first, after the journal.

        Raises BundleError, DeviceError, AudioError, OutputError, ConfigError, MissingDependencyError: whatever of it
        cannot be used; what was opened before is closed again.
        """
        self.config = config
        self.captioner = Captioner.load(config.model.name, threads=config.model.threads)
        self.model = self.captioner.manifest.name
        rehearse(self.captioner, config.model.beam)
        settings = _settings(config, self.captioner)
        with ExitStack() as stack:
            self._sinks: list[Sink] = []
            for opened in _outputs(config, tell, self, sinks):
                stack.callback(opened.close)
                self._sinks.append(opened)
            self._sources = list(_sources(config, self.captioner, settings.window, tell, stack))
            self.worker = CaptionWorker()
            stack.callback(self.worker.close, DRAIN_SECONDS)
            self._watchdog, self._clocks, self._tell = Watchdog(), Clocks(), tell
            stack.callback(self._watchdog.stop)
            ids, several = count(1), len(self._sources)
            lowest = self.captioner.manifest.silence.threshold_dbfs
            each = zip(self._sources, _each(config, settings, lowest), strict=True)
            self._listeners = [
                Listener(
                    self.captioner,
                    source,
                    replace(its, phase=number * settings.hop / several),
                    tell,
                    sinks=self._sinks,
                    worker=self.worker,
                    ids=ids,
                    number=number,
                    several=several > 1,
                )
                for number, (source, its) in enumerate(each)
            ]
            self._resources = stack.pop_all()

    @property
    def sources(self) -> list[str]:
        """Names of the sources; a microphone's own is known when it is open."""
        return [source.name for source in self._sources]

    @property
    def status(self) -> Status:
        """What goes on at the first source."""
        return self._listeners[0].status

    @property
    def statuses(self) -> list[Status]:
        """What goes on at each source."""
        return [listener.status for listener in self._listeners]

    def changes(self, stop: threading.Event) -> Generator[Change]:
        """Changes of events, after every output was told. See `crank.steps`.

        Whoever leaves before the end, or an output that fails, takes no event along: the others are told its end.
        """
        try:
            for listener, changes in steps(self._listeners, stop, self.config.stream.duration):
                for change in changes:
                    for sink in self._sinks:
                        sink.change(change)
                for sink in self._sinks:
                    sink.tick(listener.status)
                self._watchdog.beat(self.statuses, self.worker.busy_seconds)
                yield from changes
                yield from self._look_at_clocks()
        except BaseException:
            self._end_events()
            raise

    def _end_events(self) -> None:
        """Close what is still open, and tell every output that takes it."""
        for listener in self._listeners:
            for change in listener.finish(whole=False, answers=False):
                for sink in self._sinks:
                    with suppress(Exception):  # what ended it is raised, not what follows from that
                        sink.change(change)

    def _look_at_clocks(self) -> list[Change]:
        """What a clock that was set, or a machine that slept, means for events that are open."""
        jump = self._clocks.look()
        if jump is None:
            return []
        changes: list[Change] = []
        if jump.slept:
            self._tell("note", f"the machine was suspended for {jump.slept:.0f} s; listening again")
            for listener in self._listeners:
                changes += listener.slept(jump.slept)
        if jump.moved:
            self._tell(
                "warning",
                f"the system's clock was set {'forward' if jump.moved > 0 else 'back'} by "
                f"{abs(jump.moved):.0f} s; what is open is dated by the new time",
            )
            for listener in self._listeners:
                listener.moved(jump.moved)
            for sink in self._sinks:
                sink.moved(jump.moved)
        for change in changes:
            for sink in self._sinks:
                sink.change(change)
        return changes

    def close(self) -> None:
        """Close the source, then the outputs, which deliver what is left within a few seconds."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def rehearse(captioner: Captioner, beam: int | None) -> None:
    """Caption a moment of silence: a model that cannot do this is told now and not with the first sound.

    Raises BundleError.
    """
    front_end = captioner.manifest.front_end
    captioner.decode(captioner.encode(np.full((front_end.n_mels, 1), front_end.silence, np.float32)), beam)


def _settings(config: ListenConfig, captioner: Captioner) -> ListenerSettings:
    """The listener's part of a configuration. Raises ConfigError for a window, hop or filter that cannot be."""
    stream, events = config.stream, config.events
    window = captioner.window if stream.window is None else stream.window
    try:
        captioner.check_windows(window=window, hop=stream.hop)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for key, words in (("only", events.only), ("ignore", events.ignore)):
        for word in words:
            if not stems(word):  # it would let everything through, or nothing be ignored, without a word
                raise ConfigError(f"events.{key}: captions are not told apart by {word!r}; name what is heard, as dog")
    gate = _gate(stream.gate, captioner.manifest.silence.threshold_dbfs)
    rules = EventSettings(
        same_words=events.same_words,
        same_sound=events.same_sound,
        close_after=events.close_after,
        longest=events.longest,
        cooldown=events.cooldown,
        min_score=events.min_score,
        only=tuple(events.only),
        ignore=tuple(events.ignore),
    )
    return ListenerSettings(
        window=window, hop=stream.hop, beam=config.model.beam, gate=gate, novelty=stream.novelty, events=rules
    )


def _gate(asked: str | float, lowest: float) -> GateSettings | None:
    """A gate as the configuration says it: "auto", "off" or a level; nothing below `lowest` dBFS opens it."""
    if asked == "off":
        return None
    return GateSettings(lowest_dbfs=lowest, fixed_dbfs=None if isinstance(asked, str) else float(asked))


def _each(config: ListenConfig, settings: ListenerSettings, lowest: float) -> Iterator[ListenerSettings]:
    """The settings of each source: a microphone may have a gate of its own."""
    for microphone in microphones(config):
        own = None if microphone is None else microphone.gate
        yield settings if own is None else replace(settings, gate=_gate(own, lowest))


def _sources(
    config: ListenConfig, captioner: Captioner, window: float, tell: Tell, stack: ExitStack
) -> Iterator[AudioSource]:
    """Open where the sound comes from; closed by `stack`. Raises DeviceError, AudioError, MissingDependencyError."""
    source, rate = config.source, captioner.manifest.front_end.sample_rate
    if source.file is not None:
        from edgecap.live.sources.file_source import FileSource

        yield _closing(stack, FileSource(source.file, rate, speed=source.speed, window=window))
        return
    if source.stdin:
        from edgecap.live.sources.pipe_source import PipeSource

        if sys.stdin is None:
            raise AudioError("standard input is closed; pipe raw samples into it")
        yield _closing(stack, PipeSource(sys.stdin.fileno(), source.rate, source.channels, rate, speed=source.speed))
        return
    from edgecap.live.sources.microphone_source import MicrophoneSource
    from edgecap.live.sources.microphones import Microphones

    opener, names = Microphones(window), set[str]()
    stack.callback(opener.close)
    for number, microphone in enumerate(microphones(config), start=1):
        asked = microphone or MicrophoneConfig(device="")
        found = MicrophoneSource(asked.device or None, rate, opener, tell, wait=source.wait, label=asked.name)
        if found.name in names:
            found.label = f"{found.name} {number}"
        names.add(found.name)
        yield _closing(stack, found)


def _closing(stack: ExitStack, source: AudioSource) -> AudioSource:
    stack.callback(source.close)
    return source


def _outputs(config: ListenConfig, tell: Tell, session: ListenSession, sinks: Sequence[Sink]) -> Iterator[Sink]:
    """Open the outputs one by one, the journal first: nothing is told that is not stored."""
    several, kept = len(microphones(config)) > 1, bool(config.output.keep_audio)
    output, front_end = config.output, session.captioner.manifest.front_end
    if output.journal:
        from edgecap.live.sinks.journal import Journal

        yield Journal(output.journal, output.keep, tell, model=session.model)
    if output.keep_audio:
        from edgecap.live.sinks.kept_audio import KeptAudio

        tell("warning", f"the sound of each event is kept in {output.keep_audio} for {output.keep_audio_for}")
        yield KeptAudio(
            output.keep_audio,
            output.keep_audio_for,
            tell,
            sample_rate=front_end.sample_rate,
            window=session.captioner.window,
        )
    yield from sinks
    if output.srt or output.vtt or output.csv:
        from edgecap.live.sinks import files

        if output.srt:
            yield files.srt(output.srt, tell, named=several)
        if output.vtt:
            yield files.vtt(output.vtt, tell, named=several)
        if output.csv:
            yield files.table(output.csv, tell)
    if output.metrics:
        from edgecap.live.sinks.metrics import Metrics

        yield Metrics(output.metrics)
    if config.web.address is not None:
        from edgecap.web.page import LivePage

        yield LivePage(config, session.captioner, tell)
    if config.mqtt.host is not None:
        from edgecap.live.sinks.mqtt import Mqtt

        yield Mqtt(config.mqtt, tell, model=session.model, several=several, audio_kept=kept)
    if output.exec or output.webhook:
        from edgecap.live.sinks import hooks

        if output.exec:
            yield hooks.program(output.exec, output.hook_on, tell, model=session.model, audio_kept=kept)
        if output.webhook:
            yield hooks.webhook(output.webhook, output.hook_on, tell, model=session.model, audio_kept=kept)
