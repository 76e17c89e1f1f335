"""Every target led by coverage for a while (atheris), one after the other; counts are kept, and added to.

    python tests/fuzz/led.py --seconds 90 --state FOLDER [--target NAME]     typed again, it goes on with the others
    python tests/fuzz/led.py --table --state FOLDER

Needs atheris and the packages on PYTHONPATH. What ends a target (an error that is none of ours, a crash, 5 s of the
processor for one input, more than 300 MB resident) is a finding, and its input and its log are in the folder. Exit code
1 where something is found.
"""

from __future__ import annotations

# ruff: noqa: T201 - a program that prints
import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

from fuzz.targets import TARGETS

COUNTS = "led.json"
HEADER = """| target | executions | seconds | findings | most resident |
|---|---|---|---|---|"""
Row = dict[str, int]


def led(name: str, seconds: float, folder: Path) -> Row:
    """Run one target; what libFuzzer says of it."""
    campaign = Path(__file__).with_name("campaign.py")
    command = [sys.executable, str(campaign), "--target", name, "--atheris", "--seconds", f"{seconds:g}"]
    with (folder / f"{name}.log").open("wb") as log:
        done = subprocess.run([*command, "--keep", str(folder)], stdout=log, stderr=log, check=False)
    text = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    stats = {key: int(value) for key, value in re.findall(r"stat::(\w+): +(\d+)", text)}
    ran = re.findall(r"Done \d+ runs in (\d+) second", text)
    return {
        "executions": stats.get("number_of_executed_units", 0),
        "seconds": int(ran[-1]) if ran else 0,
        "findings": int(done.returncode != 0 or not ran),
        "megabytes": stats.get("peak_rss_mb", 0),
    }


def table(counts: dict[str, Row]) -> str:
    """In Markdown."""
    rows = [
        f"| {name} | {row['executions']:,} | {row['seconds']} | {row['findings']} | {row['megabytes']} MB |"
        for name, row in counts.items()
    ]
    total = sum(row["executions"] for row in counts.values())
    return "\n".join(
        [HEADER, *rows, f"\n{total:,} executions, {sum(row['findings'] for row in counts.values())} findings"]
    )


def main() -> int:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--state", type=Path, required=True, help="folder of counts, logs and findings")
    parser.add_argument("--target", choices=TARGETS, action="append", help="run these again")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    path = given.state / COUNTS
    counts: dict[str, Row] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in [] if given.table else given.target or [each for each in TARGETS if each not in counts]:
        counts[name] = led(name, given.seconds, given.state)
        path.write_text(json.dumps(counts, indent=1), encoding="utf-8")
        print(name, counts[name], file=sys.stderr)
    print(table(counts))
    return any(row["findings"] for row in counts.values())


if __name__ == "__main__":
    sys.exit(main())
