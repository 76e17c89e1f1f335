"""Recall of synthesised alarms over beds, and false alarms in hours of other sound:

    python -m edgecap_bench.alarms.measure POOL [--model NAME] [--repeats 9] [--hours 10] [--snr 0] [--json]

POOL is a folder of folders of sets of sounds; the beds are the sets that `BEDS` names, the other sound is all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edgecap.audio.file import SOUND_SUFFIXES, decode
from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.cli.console import say, table, write
from edgecap.errors import AudioError, DataError
from edgecap.live.pipeline.stream import MelStream
from edgecap.sounds.alarm_patterns import PATTERNS
from edgecap.sounds.alarms import AlarmDetector, AlarmHeard
from edgecap.types import Waveform
from edgecap.util.files import to_json
from edgecap_bench.alarms.signals import SOUNDERS, alarm, mixed
from edgecap_bench.reports import output

BEDS = {
    "street": ("tau_urban", "city_*"),
    "speech": ("deb_speech", "cpc_librispeech"),
    "music": ("deb_music",),
    "kitchen": ("kitchen20",),
}
SECONDS = 30.0
"""Of an alarm, which sounds for minutes."""
BLOCK_SECONDS = 5.0


@dataclass(frozen=True)
class Recall:
    """Alarms of one pattern over one bed."""

    pattern: str
    bed: str
    snr: float
    alarms: int
    recognised: int
    mistaken: int
    """Alarms in which another pattern was recognised."""
    seconds: float
    """Median time from the first pulse of the alarm to its recognition."""


@dataclass(frozen=True)
class FalseAlarms:
    """What was recognised in sound without an alarm."""

    hours: float
    alarms: tuple[str, ...]
    """Pattern, file and margin of each."""


class AlarmStream:
    """The detector behind a log-mel stream, as in a listener."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._rate, self._heard = front_end.sample_rate, 0
        self._block = round(BLOCK_SECONDS * self._rate)
        self._mel = MelStream(front_end, front_end.frames(self._block) + 1)
        self._detector = AlarmDetector(front_end)

    def push(self, samples: Waveform, block: int | None = None) -> Iterator[AlarmHeard]:
        """What is recognised in samples of any length."""
        block = block or self._block
        for start in range(0, samples.size, block):
            piece = samples[start : start + block]
            self._heard += piece.size
            if count := self._mel.push(piece):
                yield from self._detector.push(self._mel.newest(count), self._heard / self._rate)


def recall(front_end: FrontEnd, beds: dict[str, list[Path]], repeats: int, snr: float) -> Iterator[Recall]:
    """Each pattern from each sounder over each bed, `repeats` times."""
    random, rate = np.random.default_rng(0), front_end.sample_rate
    for bed, files in beds.items():
        for pattern in PATTERNS:
            recognised, mistaken, delays = 0, 0, list[float]()
            for sounder in list(SOUNDERS) * repeats:
                made = alarm(pattern, sounder, SECONDS, rate, random)
                sound = mixed(made, _bed(files, made.samples.size, rate, random), snr, random)
                first = int(made.sounding.argmax()) / rate
                heard = [(each, after) for each, after in _timed(front_end, sound)]
                own = [after - first for each, after in heard if each.pattern is pattern]
                recognised += bool(own)
                delays += own[:1]
                mistaken += len(own) < len(heard)
            count = len(SOUNDERS) * repeats
            median = float(np.median(delays)) if delays else float("nan")
            yield Recall(pattern.name, bed, snr, count, recognised, mistaken, round(median, 1))


def false_alarms(front_end: FrontEnd, files: Sequence[Path], hours: float) -> FalseAlarms:
    """The files one after the other as one stream, up to `hours`."""
    stream, heard, alarms = AlarmStream(front_end), 0.0, list[str]()
    for path in files:
        try:
            samples = decode(path, front_end.sample_rate)
        except AudioError as error:
            say("warning", f"skipped: {error}")
            continue
        alarms += [f"{each.pattern.name}: {path.name}, {each.margin:.1f} dB" for each in stream.push(samples)]
        heard += samples.size / front_end.sample_rate / 3600.0
        if heard >= hours:
            break
    return FalseAlarms(round(heard, 2), tuple(alarms))


def _timed(front_end: FrontEnd, sound: Waveform) -> Iterator[tuple[AlarmHeard, float]]:
    """What is recognised, and after how many seconds of sound."""
    stream, rate = AlarmStream(front_end), front_end.sample_rate
    for start in range(0, sound.size, rate):
        for heard in stream.push(sound[start : start + rate]):
            yield heard, start / rate + 1.0


def _bed(files: Sequence[Path], size: int, rate: int, random: np.random.Generator) -> Waveform:
    bed: Waveform = np.empty(0, np.float32)
    while bed.size < size:
        bed = np.concatenate((bed, decode(files[int(random.integers(len(files)))], rate)))
    return bed[:size]


def main(
    pool: Annotated[Path, typer.Argument(help="Folder of folders of sets of sounds.")],
    *,
    model: Annotated[str | None, typer.Option("--model", help="Whose log-mel is used.")] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Alarms of each pattern, bed and sounder.")] = 9,
    hours: Annotated[float, typer.Option("--hours", min=0, help="Most hours of other sound.")] = 10.0,
    snr: Annotated[float, typer.Option("--snr", help="Decibels of the pulses over the bed.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print recall and false alarms of the alarms' patterns."""
    front_end = load_bundle(find_model(model)).manifest.front_end
    beds = {
        bed: sorted(path for name in names for path in pool.glob(f"*/{name}/*") if path.suffix in SOUND_SUFFIXES)
        for bed, names in BEDS.items()
    }
    if missing := [bed for bed, files in beds.items() if not files]:
        raise DataError(
            f"{pool} has no set for the bed {missing[0]!r}; name a folder with {', '.join(BEDS[missing[0]])}"
        )
    rows = list(recall(front_end, beds, repeats, snr)) if repeats else []
    files = sorted(path for path in pool.rglob("*") if path.suffix in SOUND_SUFFIXES)
    others = [files[place] for place in np.random.default_rng(0).permutation(len(files))]
    other = false_alarms(front_end, others if hours else [], hours)
    if json:
        for row in rows:
            write(to_json(asdict(row)))
        write(to_json(asdict(other)))
        return
    cells = [[r.pattern, r.bed, f"{r.recognised}/{r.alarms}", str(r.mistaken), f"{r.seconds:.1f}"] for r in rows]
    for line in table(["pattern", "bed", "recognised", "mistaken", "seconds"], cells):
        write(line)
    write(f"{len(other.alarms)} false alarms in {other.hours} h")
    for line in other.alarms:
        write(f"  {line}")


if __name__ == "__main__":
    output.run_command(main)
