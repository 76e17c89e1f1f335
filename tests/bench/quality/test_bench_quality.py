"""Quality beside cost: scored by the real metric, drawn with published systems, kept when interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer

from edgecap.captioner import Captioner
from edgecap_bench import cli
from edgecap_bench.harness.process import run_measurement
from edgecap_bench.quality import quality
from edgecap_bench.quality.report import PUBLISHED_SCORES, quality_page
from edgecap_bench.quality.results import Quality
from edgecap_bench.reports.measurement import read_measurement, write_measurement
from edgecap_bench.reports.registry import format_of
from edgecap_bench.reports.tables import markdown
from support.bench_parts import bench, with_header
from support.signals import noise, tone


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """Three recordings, one of them unreadable; the references of the first two are the model's captions."""
    folder = tmp_path_factory.mktemp("quality")
    soundfile.write(folder / "a.wav", noise(3.0), 16_000)
    soundfile.write(folder / "b.wav", tone(4.0), 16_000)
    (folder / "broken.wav").write_text("no sound")
    captioner = Captioner.load(tiny_folder, threads=1)
    captions = [
        captioner.caption(soundfile.read(folder / f"{name}.wav", dtype="float32")[0], 16_000).text for name in "ab"
    ]
    rows = [f'a.wav,one,"{captions[0]}"', "broken.wav,one,nothing", f'b.wav,one,"{captions[1]}"', "a.wav,other,a dog"]
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
    result = read_measurement(file, Quality).body
    assert (result.clips, result.data, len(result.skipped)) == (2, "data.csv", 1)
    assert "broken.wav" in result.skipped[0]
    first, second = result.models
    assert first.cider_d == pytest.approx(second.cider_d)
    assert first.cider_d > 0 or first.different == 1  # a metric of two clips knows no rare words if both say the same
    assert second.same_as_first == 1.0
    assert all(len(each.seconds) == 2 and min(each.seconds) > 0 and each.parameters for each in result.models)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "HTSAT-BART (teacher)" in capsys.readouterr().out
    assert str(table.parent) not in file.read_text()


def test_control_c_keeps_the_recordings_so_far(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, table: Path, tmp_path: Path
) -> None:
    run = run_measurement

    def interrupted(target: str, spec: object, *, part: Callable[[dict[str, Any]], object], **more: Any) -> None:
        answers: list[dict[str, Any]] = []
        run(target, spec, part=answers.append, **more)
        for answer in answers[:3]:
            part(answer)
        raise KeyboardInterrupt

    monkeypatch.setattr(quality, "run_measurement", interrupted)
    with pytest.raises(typer.Exit) as ended:
        cli.bench(model=[str(tiny_folder)], quality=True, data=table, even_busy=True, json=tmp_path / "q.json")
    assert ended.value.exit_code == 130
    measurement = read_measurement(tmp_path / "q.json", Quality)
    assert (measurement.header.partial, measurement.body.clips) == (True, 2)
    write_measurement(tmp_path / "all.json", with_header(measurement, partial=False, noisy=False))
    section = format_of(Quality.FORMAT).section([tmp_path / "all.json"])
    assert list(section.plots) == ["all.png"]
    text = markdown(quality_page(measurement))
    assert all(system.source in text for system in PUBLISHED_SCORES)


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--quality",), 2, "--quality and --data are used together"),
        (("--data", "x.csv"), 2, "--quality and --data are used together"),
        (("--quality", "--data", "nowhere.csv"), 12, "nowhere.csv"),
        (("--quality", "--data", "{table}", "--dataset", "none"), 12, "0 rows that match"),
        (("--quality", "--data", "{table}", "--compare", "teacher"), 2, "are not available"),
        (("--quality", "--growth", "--data", "{table}"), 2, "use one of --profile, --growth, --quality"),
    ],
)
def test_what_cannot_be_scored_is_one_line(
    capsys: pytest.CaptureFixture[str], table: Path, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    done = bench(capsys, "--even-busy", *(word.format(table=table) for word in arguments))
    assert (done.code, done.out) == (code, "")
    assert complaint in done.err
    assert "Traceback" not in done.err
