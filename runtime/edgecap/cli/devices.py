"""`edgecap devices`: which microphones are here."""

from __future__ import annotations

from dataclasses import asdict

from edgecap.audio.microphone import list_devices
from edgecap.cli.console import say, table, write
from edgecap.cli.options import Json
from edgecap.util.files import to_json


def devices(json: Json = False) -> None:
    """Show the microphones: number, name, channels, own sample rate, sound system.

    A star marks the one used where none is named. Numbers change when something is plugged in; names stay.
    """
    found = list_devices()
    if json:
        for device in found:
            write(to_json(asdict(device)))
    elif found:
        rows = [
            [
                f"{device.index}{' *' if device.default else ''}",
                device.name,
                str(device.channels),
                f"{device.sample_rate:g} Hz",
                device.host,
            ]
            for device in found
        ]
        for line in table(["NUMBER", "NAME", "CHANNELS", "RATE", "SYSTEM"], rows):
            write(line)
    if not found:
        say("note", "no microphone here; plug one in")
