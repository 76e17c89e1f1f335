"""Where the example sounds come from, and how to make them again.

    python examples/collect.py            write SOURCES.md for the sounds that lie here
    python examples/collect.py FOLDER     make all sounds again in FOLDER, from Debian's packages

Making them needs Debian 12 (apt-get, dpkg-deb, about 750 MB of downloads) and edgecap installed. A sound
that is copied comes out byte for byte; one that is cut, encoded or computed here sounds the same, though
another version of the encoder may write other bytes.
"""

from __future__ import annotations

import hashlib
import io
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

HERE = Path(__file__).parent
LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "LAL-1.2": "https://artlibre.org/licence/lal/licence-art-libre-12/",
    "Apache-2.0": "../LICENSE",
}
Make = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Example:
    """One sound of this folder."""

    name: str
    heard: str
    """What a person hears in it."""
    package: str
    """Debian 12 package and version; empty where the sound is computed."""
    path: str
    """Path inside the package; after a colon, the path inside a Qt resource file."""
    authors: str
    """As the package's copyright file names them, with the original's address where it has one."""
    licence: str
    """SPDX identifier of the sound's own licence."""
    change: str = "none"
    make: Make = bytes
    """From the original's bytes to the bytes of the example."""


def cut(seconds: float, written: Mapping[str, Any], *, start: float = 0.0, rate: int = 0, gain: float = 1.0) -> Make:
    """A piece of the original, mono, written anew; `written` is what soundfile takes for the format."""

    def make(original: bytes) -> bytes:
        samples, own_rate = soundfile.read(io.BytesIO(original), dtype="float32", always_2d=True)
        piece = samples[round(start * own_rate) : round((start + seconds) * own_rate)].mean(axis=1) * np.float32(gain)
        target = io.BytesIO()
        soundfile.write(target, soxr.resample(piece, own_rate, rate or own_rate), rate or own_rate, **written)
        return target.getvalue()

    return make


def siren(_: bytes) -> bytes:
    """Eight seconds of a wailing electronic siren that comes nearer in a street: FLAC, 16 kHz, 16 bits.

    A clipped tone glides between 600 and 1400 Hz every 4 s; three walls answer it, over faint traffic noise.
    """
    rate = 16_000
    time = np.arange(8 * rate) / rate
    glide = 0.5 - 0.5 * np.cos(2 * np.pi * time / 4.0)
    phase = 2 * np.pi * np.cumsum(600.0 * (1400.0 / 600.0) ** glide) / rate
    tone = np.tanh(2.5 * np.sin(phase)) * np.linspace(0.2, 1.0, time.size)
    dry = tone.copy()
    for delay, gain in ((0.031, 0.45), (0.083, 0.3), (0.171, 0.18)):
        shift = round(delay * rate)
        tone[shift:] += gain * dry[:-shift]
    noise = np.cumsum(np.random.default_rng(0).standard_normal(time.size))
    noise -= np.convolve(noise, np.ones(801) / 801, mode="same")
    mixed: NDArray[np.float64] = 0.4 * tone + 0.02 * noise / noise.std()
    target = io.BytesIO()
    soundfile.write(target, mixed / np.abs(mixed).max() * 0.7, rate, format="FLAC", subtype="PCM_16")
    return target.getvalue()


GCOMPRIS, KART = "gcompris-qt-data 3.1-2", "supertuxkart-data 1.4+dfsg-2"
MEMORY_SOUND = "usr/share/gcompris-qt/rcc/memory-sound.rcc:gcompris/src/activities/memory-sound/resource/"
KART_SOUNDS = "usr/share/games/supertuxkart/data/"
OPUS = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.9}
MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III", "compression_level": 0.2}
FLAC = {"format": "FLAC", "subtype": "PCM_16"}

EXAMPLES = (
    Example(
        "aeroplane.ogg",
        "an aeroplane flies over",
        KART,
        KART_SOUNDS + "sfx/airplane_jetEngine.ogg",
        "Fritz Schlüter 2011, commons.wikimedia.org/wiki/File:2011-06-05_19-32_Berlin_TXL_Airplane_Flyover_plus_"
        "Wingtip_Vortex.ogg",
        "CC-BY-SA-3.0",
    ),
    Example(
        "alarm.ogg",
        "an alarm clock beeps",
        "sound-theme-freedesktop 0.8-2",
        "usr/share/sounds/freedesktop/stereo/alarm-clock-elapsed.oga",
        "Tim (corsica_s)",
        "CC-BY-SA-3.0",
    ),
    Example(
        "applause.ogg",
        "a crowd applauds",
        KART,
        KART_SOUNDS + "sfx/gp_end.ogg",
        "Mike Koenig 2009, soundbible.com/989-10-Second-Applause.html",
        "CC-BY-3.0",
    ),
    Example(
        "birds.ogg",
        "birds sing",
        KART,
        KART_SOUNDS + "sfx/exotic-birds.ogg",
        'James "swiftoid" Swift 2013, freesound.org/people/swiftoid/sounds/182501',
        "CC0-1.0",
    ),
    Example(
        "cow.ogg",
        "a cow moos",
        KART,
        KART_SOUNDS + "tracks/black_forest/cow.ogg",
        "Secretlondon, Buffbill84",
        "CC-BY-SA-3.0",
    ),
    Example(
        "dog.ogg",
        "a dog barks",
        GCOMPRIS,
        MEMORY_SOUND + "LRBark_1_LA_cut.ogg",
        "Lionel Allorge, Yves Combe",
        "LAL-1.2",
    ),
    Example(
        "drums.flac",
        "someone plays the tabla",
        "sonic-pi-samples 3.2.2~repack-8",
        "usr/share/sonic-pi/samples/loop_tabla.flac",
        "lezaarth 2015, freesound.org/people/lezaarth/sounds/242591",
        "CC0-1.0",
        "the first 6 s, mono",
        cut(6, FLAC),
    ),
    Example(
        "music.mp3",
        "a guitar and a bass play",
        "asterisk-moh-opsound-wav 2.03-1.1",
        "usr/share/asterisk/moh/manolo_camp-morning_coffee.wav",
        'Manolo Camp 2009, "Morning Coffee", ccmixter.org/people/ManoloCamp',
        "CC-BY-SA-3.0",
        "10 s from 0:20, as MP3",
        cut(10, MP3, start=20),
    ),
    Example(
        "rain.ogg",
        "rain falls in a garden",
        GCOMPRIS,
        MEMORY_SOUND + "LRRain_in_garden_01_LA_cut.ogg",
        "Lionel Allorge, Yves Combe",
        "LAL-1.2",
    ),
    Example(
        "siren.flac",
        "an emergency vehicle comes nearer",
        "",
        "",
        "the edgecap project",
        "Apache-2.0",
        "computed by collect.py",
        siren,
    ),
    Example(
        "speech.wav",
        "a woman speaks",
        "asterisk-core-sounds-en-wav 1.6.1-1",
        "usr/share/asterisk/sounds/en_US_f_Allison/demo-enterkeywords.wav",
        "Allison Smith, paid for by Digium",
        "CC-BY-SA-3.0",
    ),
    Example(
        "train.opus",
        "a steam locomotive starts and gathers speed",
        KART,
        KART_SOUNDS + "tracks/black_forest/steamLocomotive.ogg",
        "Daniel Simion",
        "CC-BY-SA-3.0",
        "the first 35 s, 2 dB softer, as Opus",
        cut(35, OPUS, rate=48_000, gain=0.8),
    ),
    Example(
        "water.ogg",
        "a stream flows",
        KART,
        KART_SOUNDS + "sfx/river_loop.ogg",
        "Adam Newns 2012, freesound.org/people/Adam_N/sounds/166310",
        "CC0-1.0",
    ),
)


def sources(folder: Path = HERE) -> str:
    """The text of SOURCES.md for the examples that lie in `folder`."""
    lines = [
        "# Where these sounds come from",
        "",
        "Written by `python examples/collect.py`; `python examples/collect.py FOLDER` makes the sounds again. Each",
        "sound has its own licence, which is not that of edgecap. Packages are Debian 12's; the authors and licences",
        "are those in their copyright files.",
        "",
        "| file | what is heard | package, path inside it | authors | licence | changes | SHA-256 |",
        "|---|---|---|---|---|---|---|",
    ]
    for example in EXAMPLES:
        origin = f"{example.package}, `{example.path.replace(':', '` → `')}`" if example.package else "none"
        licence = f"[{example.licence}]({LICENCES[example.licence]})"
        digest = hashlib.sha256((folder / example.name).read_bytes()).hexdigest()
        lines.append(
            f"| {example.name} | {example.heard} | {origin} | {example.authors} | {licence} | "
            f"{example.change} | `{digest}` |"
        )
    return "\n".join(lines) + "\n"


def collect(folder: Path) -> Iterator[str]:
    """Make every example again in `folder`; one line about each."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgecap-examples-") as packages:
        for example in EXAMPLES:
            data = example.make(_original(example, Path(packages)))
            known = HERE / example.name
            likeness = compared(data, known.read_bytes()) if known.is_file() else "new"
            (folder / example.name).write_bytes(data)
            yield f"{example.name}: {likeness}"


def compared(made: bytes, known: bytes) -> str:
    """How a sound made again compares with the one of this folder; an Ogg stream's number is drawn by chance."""
    if made == known:
        return "the same bytes"
    samples = [soundfile.read(io.BytesIO(data))[0] for data in (made, known)]
    if samples[0].shape == samples[1].shape and np.abs(samples[0] - samples[1]).max() < 1e-3:
        return "the same sound in other bytes"
    return "ANOTHER SOUND"


def _original(example: Example, packages: Path) -> bytes:
    """The bytes of the file inside its package, which is kept in `packages`; nothing for a computed sound."""
    if not example.package:
        return b""
    name, version = example.package.split()
    if not list(packages.glob(f"{name}_*.deb")):
        subprocess.run(["apt-get", "download", "-q", f"{name}={version}"], check=True, cwd=packages)
    path, _, inner = example.path.partition(":")
    unpack = ["dpkg-deb", "--fsys-tarfile", str(next(packages.glob(f"{name}_*.deb")))]
    with subprocess.Popen(unpack, stdout=subprocess.PIPE) as archive:
        extracted = subprocess.run(
            ["tar", "-xO", f"./{path}"], check=True, stdin=archive.stdout, stdout=subprocess.PIPE
        )
    return resource(extracted.stdout, inner) if inner else extracted.stdout


def resource(data: bytes, path: str) -> bytes:
    """One file out of a Qt binary resource file (format versions 1 to 3).

    A tree of records, each a name's offset, flags (1 zlib, 2 folder) and either its children or its data.
    """
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres":
        raise ValueError("not a Qt resource file")
    size = 22 if version >= 2 else 14

    def name(offset: int) -> str:
        length = struct.unpack_from(">H", data, names + offset)[0]
        return data[names + offset + 6 : names + offset + 6 + 2 * length].decode("utf-16-be")

    record = tree
    for part in path.split("/"):
        count, first = struct.unpack_from(">II", data, record + 6)
        children = [tree + size * number for number in range(first, first + count)]
        record = next(child for child in children if name(struct.unpack_from(">I", data, child)[0]) == part)
    flags, _, offset = struct.unpack_from(">HII", data, record + 4)
    start = contents + offset + 4
    stored = data[start : start + struct.unpack_from(">I", data, start - 4)[0]]
    return zlib.decompress(stored[4:]) if flags & 1 else stored


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for report in collect(Path(sys.argv[1])):
            sys.stdout.write(report + "\n")
    else:
        (HERE / "SOURCES.md").write_text(sources(), encoding="utf-8")
