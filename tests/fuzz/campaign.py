"""Long fuzzing of every target, each in a process of its own; counts and what is found are kept, and added to.

    python tests/fuzz/campaign.py --minutes 20                      all targets, in turns of half a minute
    python tests/fuzz/campaign.py --million 10 --state FOLDER       until there are so many executions, with FOLDER's
    python tests/fuzz/campaign.py --table --state FOLDER            the table of what was executed up to now
    python tests/fuzz/campaign.py --target http --executions 5000 --seed 3
    python tests/fuzz/campaign.py --target manifest --atheris       led by coverage, where atheris is installed

Ctrl-C or SIGTERM ends it with the table; typed again with the same --state it goes on. Needs the packages on
PYTHONPATH, as the tests have them. A process that crashes, computes for 5 s on one input or has 300 MB resident is a
finding: its input is in the folder, with a traceback where there is one. What ends in an error of ours once mended
belongs into tests/fuzz/corpus/TARGET; what ends another project's process belongs to its maintainers and not into this
repository. Exit code 1 where something is found.
"""

from __future__ import annotations

# ruff: noqa: T201 - a program that prints
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from fuzz.child import HANG_SECONDS, STUCK_SECONDS, Board, Task, led, work
from fuzz.targets import TARGETS

SLICE = 30.0
"""Seconds of a process."""
START_SECONDS = 900.0
"""Longest time until the first input is run, on a machine that may be busy."""
COUNTS = "counts.json"


@dataclass
class Tally:
    """What was executed of a target."""

    executions: int = 0
    refused: int = 0
    findings: int = 0
    lost: int = 0
    """Processes that crashed or hung."""
    seconds: float = 0.0
    megabytes: int = 0
    """Most that a process had resident."""
    seed: int = 0
    """The next process's."""


class Campaign:
    """All targets in turns; the counts are in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        known = {}
        with suppress(FileNotFoundError):
            known = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
        self.tallies = {name: Tally(**known.get(name, {})) for name in TARGETS}

    @property
    def executions(self) -> int:
        """Of all targets."""
        return sum(tally.executions for tally in self.tallies.values())

    @property
    def faults(self) -> int:
        """Findings, crashes and hangs."""
        return sum(tally.findings + tally.lost for tally in self.tallies.values())

    def run(self, seconds: float, most: int) -> None:
        """Turns until the time is over or there are so many executions; who had least time comes next."""
        deadline = time.monotonic() + seconds
        share = min(SLICE, max(1.0, seconds / len(TARGETS)))
        while (left := deadline - time.monotonic()) >= 1.0 and self.executions < most:
            name = min(self.tallies, key=lambda each: self.tallies[each].seconds)
            self.turn(name, min(share, left))

    def turn(self, name: str, seconds: float) -> None:
        """One process of a target, watched."""
        tally, board = self.tallies[name], Board(self.folder / f"{name}.board")
        board.clear()
        command = [sys.executable, __file__, "--target", name, "--seconds", f"{seconds}", "--seed", f"{tally.seed}"]
        process = subprocess.Popen(
            [*command, "--keep", str(self.folder)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        began = time.monotonic()
        try:
            stuck = _watched(process, board)
            output, _ = process.communicate()
            reported = [json.loads(line) for line in output.splitlines()[-1:]]
            tally.megabytes = max([tally.megabytes, *(numbers[-1] for numbers in reported)])
            if not reported or process.returncode < 0:
                tally.lost += 1
                _, data = board.get()
                (self.folder / f"{name}-{'hang' if stuck else 'crash'}-{tally.seed}").write_bytes(data)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            (executions, refused, findings), _ = board.get()
            tally.executions, tally.refused = tally.executions + executions, tally.refused + refused
            tally.findings, tally.seed = tally.findings + findings, tally.seed + 1
            tally.seconds = round(tally.seconds + time.monotonic() - began, 1)
            self.save()

    def save(self) -> None:
        """Write the counts."""
        text = json.dumps({name: asdict(tally) for name, tally in self.tallies.items()}, indent=1)
        partial = self.folder / f"{COUNTS}.new"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.folder / COUNTS)

    def table(self) -> str:
        """In Markdown."""
        lines = [
            "| target | executions | refused | findings | crashes, hangs | most resident |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {each.executions:,} | {each.refused:,} | {each.findings} | {each.lost} | {each.megabytes} MB |"
            for name, each in self.tallies.items()
        ]
        hours = sum(tally.seconds for tally in self.tallies.values()) / 3600
        lines.append(f"\n{self.executions:,} executions in {hours:.1f} hours, {self.faults} findings")
        return "\n".join(lines)


def _watched(process: subprocess.Popen[str], board: Board) -> bool:
    """Wait for a process; whether it had to be ended because one input took too long."""
    count, since, used = 0, time.monotonic(), 0.0
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        (now, _, _), _ = board.get()
        computed = _processor_seconds(process.pid)
        if now != count:
            count, since, used = now, time.monotonic(), computed
            continue
        most = STUCK_SECONDS + HANG_SECONDS if count else START_SECONDS
        if time.monotonic() - since > most or (count and computed - used > 2 * HANG_SECONDS):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
    return False


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--million", type=float, help="executions at which it ends, whatever time is left")
    parser.add_argument("--state", type=Path, help="folder of counts and findings; a new temporary one by default")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--atheris", action="store_true")
    given = parser.parse_args()
    if given.target is not None:
        task = Task(given.target, given.seed, given.seconds, given.executions, given.keep)
        return led(task) if given.atheris else work(task)
    campaign = Campaign(given.state or Path(tempfile.mkdtemp(prefix="edgecap-fuzz-")))
    if not given.table:
        signal.signal(signal.SIGTERM, _interrupted)
        most = round(1e6 * given.million) if given.million else sys.maxsize
        seconds = 60.0 * given.minutes if not given.million or given.minutes != parser.get_default("minutes") else 1e9
        with suppress(KeyboardInterrupt):
            campaign.run(seconds, most)
    print(campaign.table())
    print(f"counts and findings: {campaign.folder}", file=sys.stderr)
    return bool(campaign.faults)


if __name__ == "__main__":
    sys.exit(main())
