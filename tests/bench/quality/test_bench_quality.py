"""Quality beside cost: scored by the real metric, drawn with published systems, and kept when cut short."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer

from edgecap.captioner import Captioner
from edgecap.errors import ResultError
from edgecap_bench import cli
from edgecap_bench.comparison.published_scores import SYSTEMS
from edgecap_bench.harness.processes import Measurement
from edgecap_bench.quality import quality
from edgecap_bench.quality.report import quality_page, section
from edgecap_bench.quality.results import read_quality, write_quality
from edgecap_bench.reports.tables import markdown
from support.signals import noise, tone

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Three recordings, one of them unreadable; the references of the first two are the model's very words."""
    folder = tmp_path_factory.mktemp("quality")
    soundfile.write(folder / "a.wav", noise(3.0), 16_000)
    soundfile.write(folder / "b.wav", tone(4.0), 16_000)
    (folder / "broken.wav").write_text("no sound")
    captioner = Captioner.load(tiny_folder, threads=1)
    said = [captioner.caption(soundfile.read(folder / f"{name}.wav", dtype="float32")[0], 16_000).text for name in "ab"]
    rows = [f'a.wav,one,"{said[0]}"', "broken.wav,one,nothing", f'b.wav,one,"{said[1]}"', "a.wav,other,a dog"]
    (folder / "data.csv").write_text("\n".join(["file,dataset,caption_1", *rows]) + "\n")
    return folder / "data.csv"


def test_captions_are_scored_timed_and_drawn(
    tiny_folder: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, plot = tmp_path / "q.json", tmp_path / "q.png"
    cli.bench(
        quality=True,
        data=table,
        dataset="one",
        model=[str(tiny_folder)],
        compare=[str(tiny_folder)],
        even_busy=True,
        json=file,
        plot=plot,
    )
    found = read_quality(file)
    assert (found.clips, found.data, len(found.skipped)) == (2, "data.csv", 1)
    assert "broken.wav" in found.skipped[0]
    first, second = found.models
    assert first.cider_d == pytest.approx(second.cider_d)
    assert first.cider_d > 0 or first.different == 1  # a metric of two clips knows no rare words if both say the same
    assert second.same_as_first == 1.0
    assert all(len(each.seconds) == 2 and min(each.seconds) > 0 and each.parameters for each in found.models)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "HTSAT-BART (teacher)" in capsys.readouterr().out
    assert str(table.parent) not in file.read_text()


def test_control_c_keeps_the_recordings_so_far(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, table: Path, tmp_path: Path
) -> None:
    run = Measurement.run

    def cut_short(self: Measurement, task: str, spec: str, *, part: Callable[[dict[str, Any]], object], **_: object):
        answers: list[dict[str, Any]] = []
        run(self, task, spec, part=answers.append)
        for answer in answers[:3]:
            part(answer)
        raise KeyboardInterrupt

    monkeypatch.setattr(quality.Measurement, "run", cut_short)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], quality=True, data=table, even_busy=True, json=tmp_path / "q.json")
    assert ended.value.exit_code == 130
    found = read_quality(tmp_path / "q.json")
    assert (found.partial, found.clips) == (True, 2)
    for fault, words in (({"noisy": True}, "busy"), ({"noisy": False}, "cut short")):
        write_quality(tmp_path / "q.json", replace(found, **fault))
        with pytest.raises(ResultError, match=words):
            section([tmp_path / "q.json"])
    write_quality(tmp_path / "whole.json", replace(found, partial=False, noisy=False))
    part = section([tmp_path / "whole.json"])
    assert list(part.plots) == ["whole.png"]
    text = markdown(quality_page(found))
    assert all(system.source in text for system in SYSTEMS)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--quality",), 2, "--quality needs --data"),
        (("--data", "x.csv"), 2, "--quality needs --data"),
        (("--quality", "--data", "nowhere.csv"), 3, "nowhere.csv"),
        (("--quality", "--data", "{table}", "--dataset", "none"), 1, "0 rows that fit"),
        (("--quality", "--data", "{table}", "--compare", "teacher"), 1, "no weights here"),
        (("--quality", "--growth", "--data", "{table}"), 2, "one thing at a time"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line(
    edgecap: Run, table: Path, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    done = edgecap("bench", "--even-busy", *(word.format(table=table) for word in arguments))
    assert done.returncode == code, done.stderr
    assert complaint in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
