"""Long fuzzing of every target, each in a process of its own; what is found is kept.

    python tests/fuzz/campaign.py --minutes 20                    all targets, the time divided among them
    python tests/fuzz/campaign.py --target http --executions 5000 --seed 3
    python tests/fuzz/campaign.py --target manifest --atheris     led by coverage, where atheris is installed

Needs the packages on PYTHONPATH, as the tests have them. A finding is written to --keep (by default a new temporary
folder), with its traceback. One that ends in an error of ours once it is mended belongs into tests/fuzz/corpus/TARGET;
one that ends another project's process belongs to its maintainers and not into this repository. Exit code 1 where
something is found.
"""

from __future__ import annotations

# ruff: noqa: T201 - a program that prints
import argparse
import hashlib
import importlib
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from fuzz.mutate import changed, random_edits
from fuzz.targets import TARGETS, Run, attempt
from loopback import GUARD

HANG_SECONDS, STUCK_SECONDS = 5.0, 60.0
"""Of processor time, and of time on a machine that may be busy."""
SLICE = 60.0
"""Seconds of a child's run: one that is killed loses no more."""
CORPUS = Path(__file__).parent / "corpus"


def corpus(name: str) -> list[bytes]:
    """Inputs that were findings once."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


class Finding(Exception):  # noqa: N818 - not every one is an error
    """An input that did not end as it should."""


def tried(run: Run, data: bytes) -> bool:
    """Whether an input was refused. Raises Finding."""
    began, used = time.monotonic(), time.process_time()
    try:
        refused = bool(attempt(run, data))
    except Exception as error:
        raise Finding(traceback.format_exc()) from error
    took, computed = time.monotonic() - began, time.process_time() - used
    if computed > HANG_SECONDS or took > STUCK_SECONDS:
        raise Finding(f"it took {took:.1f} s, {computed:.1f} s of them of the processor")
    return refused


def work(arguments: argparse.Namespace) -> int:
    """A child: run one target and report as one line of JSON."""
    GUARD.start()
    logging.disable()
    source = random.Random(arguments.seed)
    executions = refused = findings = 0
    deadline = time.monotonic() + (arguments.seconds or float("inf"))
    kinds: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, TARGETS[arguments.target].open(Path(folder)) as (good, run):
        for seed in good:
            tried(run, seed)
        seeds = [*good, *corpus(arguments.target)]
        began = time.monotonic()
        while time.monotonic() < deadline and executions != arguments.executions:
            data = changed(source.choice(seeds), random_edits(source))
            if arguments.keep:
                (arguments.keep / f"{arguments.target}.last").write_bytes(data)
            executions += 1
            try:
                refused += tried(run, data)
            except Finding as finding:
                kind = "".join(str(finding).splitlines()[-3:-1])
                if kind not in kinds:
                    kinds.add(kind)
                    keep(arguments, data, str(finding))
                findings += 1
        seconds = time.monotonic() - began
    # ru_maxrss would be that of the process which started this one, where that is larger
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    megabytes = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([executions, refused, findings, round(seconds, 1), round(megabytes)]))
    return bool(findings)


def led(arguments: argparse.Namespace) -> int:
    """A child: the same, with inputs that atheris makes from what the code's coverage shows."""
    atheris = importlib.import_module("atheris")
    with tempfile.TemporaryDirectory() as folder, TARGETS[arguments.target].open(Path(folder)) as (good, run):
        start = Path(folder) / "seeds"
        start.mkdir()
        for number, seed in enumerate([*good, *corpus(arguments.target)]):
            (start / str(number)).write_bytes(seed)
        atheris.instrument_all()
        seconds = round(arguments.seconds or 60)
        options = [f"-max_total_time={seconds}", f"-timeout={HANG_SECONDS:.0f}", "-rss_limit_mb=2048"]
        atheris.Setup([sys.argv[0], *options, str(start)], lambda data: void_attempt(run, data))
        atheris.Fuzz()
    return 0


def void_attempt(run: Run, data: bytes) -> None:
    """As `attempt`, for atheris, which wants no result."""
    attempt(run, data)


def keep(arguments: argparse.Namespace, data: bytes, text: str) -> None:
    """Write a finding and its traceback where it was asked for, and tell it."""
    print(f"{arguments.target}: {text.strip().splitlines()[-1]}", file=sys.stderr)
    if arguments.keep:
        name = hashlib.sha256(data).hexdigest()[:12]
        (arguments.keep / f"{arguments.target}-{name}").write_bytes(data)
        (arguments.keep / f"{arguments.target}-{name}.txt").write_text(text)


def lead(arguments: argparse.Namespace) -> int:
    """Give each target its share of the time, in slices; a table at the end."""
    arguments.keep = arguments.keep or Path(tempfile.mkdtemp(prefix="edgecap-fuzz-"))
    share = 60.0 * arguments.minutes / len(TARGETS)
    print("| target | executions | a second | refused | findings | crashes, hangs | largest |")
    print("|---|---|---|---|---|---|---|")
    total = bad = 0
    for name in TARGETS:
        sums, largest, lost, seed, left = [0, 0, 0, 0.0], 0, 0, arguments.seed, share
        while left > 1.0:
            seconds = min(SLICE, left)
            command = [sys.executable, __file__, "--target", name, "--seconds", str(seconds), "--seed", str(seed)]
            command += ["--keep", str(arguments.keep)]
            began = time.monotonic()
            try:
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, timeout=10 * seconds + 120, check=False
                )
                *numbers, megabytes = json.loads(done.stdout.splitlines()[-1])
                sums, largest = [a + b for a, b in zip(sums, numbers, strict=True)], max(largest, megabytes)
            except (subprocess.TimeoutExpired, ValueError, IndexError):
                lost += 1
                last = arguments.keep / f"{name}.last"
                if last.exists():
                    last.rename(arguments.keep / f"{name}-crash-{seed}")
            left -= max(seconds, time.monotonic() - began)
            seed += 1
        executions, refused, findings, used = sums
        total, bad = total + round(executions), bad + round(findings) + lost
        rate = executions / max(1e-9, used)
        print(f"| {name} | {executions} | {rate:.0f} | {refused} | {findings} | {lost} | {largest} MB |", flush=True)
    print(f"\n{total} executions, {bad} findings; kept in {arguments.keep}")
    return bool(bad)


def main() -> int:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--atheris", action="store_true")
    arguments = parser.parse_args()
    if arguments.target is None:
        return lead(arguments)
    return led(arguments) if arguments.atheris else work(arguments)


if __name__ == "__main__":
    sys.exit(main())
