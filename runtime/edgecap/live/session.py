"""From a configuration to a running listener with everything that its events go to."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from edgecap.captioner import Captioner
from edgecap.errors import ConfigError
from edgecap.live.config import ListenConfig
from edgecap.live.event import Change, EventSettings
from edgecap.live.gate import GateSettings
from edgecap.live.listener import Listener, ListenerSettings
from edgecap.live.sinks.base import Sink
from edgecap.live.source import Source, Tell
from edgecap.live.status import Status


class Session:
    """An open source, a loaded model and open outputs. Use it as a context manager."""

    def __init__(self, config: ListenConfig, tell: Tell, *, sinks: Sequence[Sink] = ()) -> None:
        """Open all of it; `sinks` are told first, after the journal.

        Raises BundleError, DeviceError, AudioError, OutputError, ConfigError, MissingDependencyError: whatever of it
        cannot be used; what was opened before is closed again.
        """
        self.config = config
        self.captioner = Captioner.load(config.model.name, threads=config.model.threads)
        self.model = self.captioner.manifest.name
        settings = _settings(config, self.captioner)
        with ExitStack() as stack:
            self._source: Source | None = None
            self._sinks: list[Sink] = []
            for opened in _outputs(config, tell, self, sinks):
                stack.callback(opened.close)
                self._sinks.append(opened)
            self._source = _source(config, self.captioner, settings.window, tell)
            stack.callback(self._source.close)
            self._listener = Listener(self.captioner, self._source, settings, tell, sinks=self._sinks)
            stack.callback(self._listener.close)
            self._resources = stack.pop_all()

    @property
    def source(self) -> str:
        """The source's name; a microphone's is known when it is open."""
        return self._source.name if self._source else ""

    @property
    def status(self) -> Status:
        """What goes on."""
        return self._listener.status

    def changes(self, stop: threading.Event) -> Iterator[Change]:
        """Changes of events, after every output was told. See `Listener.steps`."""
        for changes in self._listener.steps(stop, self.config.stream.duration):
            for change in changes:
                for sink in self._sinks:
                    sink.change(change)
            for sink in self._sinks:
                sink.tick(self._listener.status)
            yield from changes

    def close(self) -> None:
        """Close the source, then the outputs, which deliver what is left within a few seconds."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _settings(config: ListenConfig, captioner: Captioner) -> ListenerSettings:
    """The listener's part of a configuration. Raises ConfigError for a window, hop or gate that cannot be."""
    stream, events = config.stream, config.events
    window = captioner.window if stream.window is None else stream.window
    try:
        captioner.windows(0.0, window=window, hop=stream.hop)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    gate: GateSettings | None = None
    if stream.gate != "off":
        fixed = None if isinstance(stream.gate, str) else float(stream.gate)
        gate = GateSettings(lowest_dbfs=captioner.manifest.silence.threshold_dbfs, fixed_dbfs=fixed)
    rules = EventSettings(
        same_words=events.same_words, same_sound=events.same_sound, close_after=events.close_after,
        longest=events.longest, cooldown=events.cooldown, min_score=events.min_score, only=tuple(events.only),
        ignore=tuple(events.ignore),
    )
    return ListenerSettings(window=window, hop=stream.hop, beam=config.model.beam, gate=gate, novelty=stream.novelty,
                            events=rules)


def _source(config: ListenConfig, captioner: Captioner, window: float, tell: Tell) -> Source:
    """Open where the sound comes from. Raises DeviceError, AudioError, MissingDependencyError."""
    source, rate = config.source, captioner.manifest.front_end.sample_rate
    if source.file is not None:
        from edgecap.live.file_source import FileSource

        return FileSource(source.file, rate, speed=source.speed, window=window)
    if source.stdin:
        from edgecap.live.pipe_source import PipeSource

        return PipeSource(sys.stdin.fileno(), source.rate, source.channels, rate, speed=source.speed)
    from edgecap.live.microphone_source import MicrophoneSource, opener

    return MicrophoneSource(source.device, rate, opener(window), tell, wait=source.wait)


def _outputs(config: ListenConfig, tell: Tell, session: Session, sinks: Sequence[Sink]) -> Iterator[Sink]:
    """Open the outputs one by one, the journal first: nothing is told that is not stored."""
    output = config.output
    name = lambda: session.source  # noqa: E731 - not known yet
    if output.journal:
        from edgecap.live.sinks.journal import Journal

        yield Journal(output.journal, output.keep, tell, source=name, model=session.model)
    yield from sinks
    if output.srt or output.vtt or output.csv:
        from edgecap.live.sinks import files

        for path, kind in ((output.srt, files.srt), (output.vtt, files.vtt), (output.csv, files.table)):
            if path:
                yield kind(path, tell)
    if output.metrics:
        from edgecap.live.sinks.metrics import Metrics

        yield Metrics(output.metrics)
    if config.mqtt.host is not None:
        from edgecap.live.sinks.mqtt import Mqtt

        yield Mqtt(config.mqtt, tell, source=name, model=session.model)
    if output.exec or output.webhook:
        from edgecap.live.sinks import hooks

        if output.exec:
            yield hooks.program(output.exec, output.hook_on, tell, source=name)
        if output.webhook:
            yield hooks.webhook(output.webhook, output.hook_on, tell, source=name, model=session.model)
