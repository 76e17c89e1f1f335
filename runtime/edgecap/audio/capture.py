"""A program that captures one microphone: what hangs in PortAudio or ALSA hangs here, and is ended with this process.

`edgecap.audio.captured` runs this file and nothing else of edgecap, so it needs no NumPy. Standard output has
blocks, each a `HEAD` (kind, bytes) and its content: `WORDS` is JSON (what devices there are, then which settings worked
or why none did), `SOUND` is float32 samples, interleaved, and `SOUND_AFTER_LOSS` the same after an overflow. Standard
input has one line, the device and the settings to try; its end is this program's end.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

HEAD = struct.Struct("<BI")
WORDS, SOUND, SOUND_AFTER_LOSS = range(3)
LOOK_SECONDS = 0.1
"""Between two looks whether the stream has ended, as that of a microphone does that is pulled out."""


def main() -> None:
    """List the devices, capture the one that is asked for, and end when it does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal and systemd signal all processes; this one ends with edgecap
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        say({"missing": str(error)})
        return
    try:
        say(listed(sounddevice))
    except sounddevice.PortAudioError as error:
        say({"silent": reason(error)})
        return
    wanted = json.loads(sys.stdin.readline() or "{}")
    if wanted:
        threading.Thread(target=end_with_input, daemon=True).start()
        capture(sounddevice, wanted)


def listed(portaudio: Any) -> dict[str, object]:  # noqa: ANN401 - sounddevice has no types
    """All devices of all sound systems, as PortAudio has them."""
    devices = [
        [index, device["name"], device["max_input_channels"], device["default_samplerate"], device["hostapi"]]
        for index, device in enumerate(portaudio.query_devices())
    ]
    hosts = [host["name"] for host in portaudio.query_hostapis()]
    version = str(portaudio.get_portaudio_version()[1]).partition(",")[0]
    return {"version": version, "devices": devices, "hosts": hosts, "default": portaudio.default.device[0]}


def capture(portaudio: Any, wanted: dict[str, Any]) -> None:  # noqa: ANN401
    """Try the settings in their order, and give the sound of the first that works until it ends."""
    given, refusals = threading.Event(), list[str]()

    def heard(block: Any, _frames: int, _time: object, status: Any) -> None:  # noqa: ANN401
        if given.is_set():
            write(SOUND_AFTER_LOSS if status.input_overflow else SOUND, bytes(block))

    for number, settings in enumerate(wanted["settings"]):
        stream = None
        try:
            stream = portaudio.RawInputStream(device=wanted["index"], dtype="float32", callback=heard, **settings)
            stream.start()
        except (portaudio.PortAudioError, ValueError) as error:
            refusals.append(reason(error))
            if stream is not None:
                stream.close(ignore_errors=True)
            continue
        say({"opened": number})
        given.set()
        with suppress(portaudio.PortAudioError):
            while stream.active:
                time.sleep(LOOK_SECONDS)
        return
    say({"refused": refusals[0]})


def end_with_input() -> None:
    """End this process when edgecap has closed its end of standard input, or is gone."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def reason(error: BaseException) -> str:
    """What an error says in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def say(words: dict[str, object]) -> None:
    """Write JSON."""
    write(WORDS, json.dumps(words).encode())


def write(kind: int, content: bytes) -> None:
    """Write a block, whole; end where nobody reads any more."""
    block = memoryview(HEAD.pack(kind, len(content)) + content)
    try:
        while block:
            block = block[os.write(1, block) :]
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
    os._exit(0)  # PortAudio's own end may hang, too, or abort
