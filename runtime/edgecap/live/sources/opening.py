"""The sources of a configuration, opened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

from edgecap.errors import AudioError
from edgecap.live.config.listen_config import ListenConfig, MicrophoneConfig, SourceConfig, microphones
from edgecap.live.sources.microphone_source import MicrophoneSource
from edgecap.live.sources.microphones import Microphones
from edgecap.live.sources.program_source import ProgramSource
from edgecap.live.sources.sound_programs import program_of
from edgecap.live.sources.source import AudioSource
from edgecap.types import Notify


def open_sources(
    config: ListenConfig, rate: int, window: float, notify: Notify, stack: ExitStack
) -> Iterator[AudioSource]:
    """Open the sources, which give `rate` samples a second; `stack` closes them; `window` seconds are held at most.

    Raises DeviceError, AudioError, ConfigError, MissingDependencyError.
    """
    source = config.source
    if source.file is not None:
        from edgecap.live.sources.file_source import FileSource

        yield stack.enter_context(closing(FileSource(source.file, rate, speed=source.speed, window=window)))
        return
    if source.stdin:
        from edgecap.live.sources.pipe_source import PipeSource

        if sys.stdin is None:
            raise AudioError("standard input is closed; pipe raw samples into it")
        yield PipeSource(sys.stdin.fileno(), source.rate, source.channels, rate, speed=source.speed)
        return
    opener, names = Microphones(window, first_look=2.0 * source.retry, longest_look=source.longest_retry), set[str]()
    stack.callback(opener.close)
    for number, microphone in enumerate(microphones(config), start=1):
        opened = _opened(microphone or MicrophoneConfig(device=""), source, rate, opener, notify)
        if opened.name in names:
            opened.label = f"{opened.name} {number}"
        names.add(opened.name)
        yield stack.enter_context(closing(opened))


def _opened(
    microphone: MicrophoneConfig, source: SourceConfig, rate: int, opener: Microphones, notify: Notify
) -> MicrophoneSource | ProgramSource:
    program = program_of(microphone, rate, notify)
    if program is None:
        return MicrophoneSource(
            microphone.device or None,
            rate,
            opener,
            notify,
            wait=source.wait,
            label=microphone.name,
            lost_after=source.lost_after,
            retry=source.retry,
        )
    return ProgramSource(
        program,
        rate,
        notify,
        wait=source.wait,
        label=microphone.name,
        lost_after=source.lost_after,
        retry=source.retry,
        longest_retry=source.longest_retry,
    )
