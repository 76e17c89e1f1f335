"""What people say that an event was, kept beside its sound; and the picture of that sound."""

from __future__ import annotations

import csv
import json
import os
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

from edgecap.captioner import Captioner
from edgecap.live.events.event import Event
from edgecap.live.sinks.journal import Journal
from edgecap.web.events import labels as web_labels
from edgecap.web.events.labels import Labels, label_of
from edgecap.web.events.sounds import PICTURE_COLUMNS, spectrogram
from edgecap.web.page import LivePage
from edgecap_train.text.captioned_files import read_captioned_files
from support.live_parts import ignore
from support.signals import RATE, noise, tone
from support.web_parts import Answer, Recorder, Visitor

TOKEN = "correct-horse-battery"
Serve = Callable[..., tuple[LivePage, Visitor]]


def named(event: Event, **more: str) -> dict[str, str]:
    """How a browser names an event."""
    return {"began": str(event.document()["began"]), "source": event.source, **more}


def say(ask: Visitor, event: Event, text: str, **headers: str | None) -> Answer:
    body = json.dumps(named(event, text=text)).encode()
    return ask("POST", "/label", body, **{"Content_Type": "application/json", **headers})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labelled" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_label_lies_beside_its_sound_as_a_table_that_evaluation_and_training_read(
    serve: Serve, tmp_path: Path
) -> None:
    page, ask = serve(sounds=tmp_path)
    event = Recorder(page, tmp_path).event(1, source="Küche")
    code, _, body = say(ask, event, "  a fox\tbarks, twice ")
    assert (code, json.loads(body)["label"]) == (200, "a fox barks, twice")
    assert json.loads(body)["folder"] == str(tmp_path / "labelled")
    (row,) = rows(tmp_path)
    assert list(row) == ["file", "caption_1", "heard", "confidence", "source", "began", "labelled"]
    assert (row["caption_1"], row["heard"], row["source"]) == ("a fox barks, twice", "a dog barks", "Küche")
    assert row["began"] == event.document()["began"]
    (clip,) = read_captioned_files(tmp_path / "labelled" / "labels.csv")
    assert clip.captions == ("a fox barks, twice",)
    assert soundfile.info(clip.file).duration == pytest.approx(5.0)
    for path, mode in ((tmp_path / "labelled", 0o700), (clip.file, 0o600), (clip.file.with_name("labels.csv"), 0o600)):
        assert path.stat().st_mode & 0o777 == mode
    assert [event["label"] for event in json.loads(ask("GET", "/past")[2])["events"]] == ["a fox barks, twice"]


def test_a_label_is_changed_and_taken_back_and_what_else_is_in_the_table_stays(serve: Serve, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path)
    recorder, now = Recorder(page, tmp_path), time.time()
    first, second = (recorder.event(number, began=now + number) for number in (1, 2))
    for event, text in ((first, "a fox"), (second, "a dog barks"), (first, "a red fox")):
        assert say(ask, event, text)[0] == 200
    table = tmp_path / "labelled" / "labels.csv"
    assert [row["caption_1"] for row in rows(tmp_path)] == ["a red fox", "a dog barks"]
    lines = table.read_text().splitlines()  # as a person may add to it, in a spreadsheet
    table.write_text(
        "\ufeff" + "\r\n".join([f"{lines[0]},caption_2", f"{lines[1]},it yaps", lines[2] + ",", "own.wav,ours"])
    )
    assert say(ask, second, "a hound")[0] == 200
    assert [(row["caption_1"], row["caption_2"]) for row in rows(tmp_path)] == [
        *(("a red fox", "it yaps"), ("a hound", ""), ("ours", ""))
    ]
    assert say(ask, first, "")[0] == 200
    assert [row["caption_1"] for row in rows(tmp_path)] == ["a hound", "ours"]
    kept = {path.name for path in (tmp_path / "labelled").iterdir()}
    assert kept == {"labels.csv", page._past.sound_of(second)}


def test_a_labelled_sound_outlives_the_others_and_is_still_heard_and_labelled(serve: Serve, tmp_path: Path) -> None:
    path, folder = tmp_path / "events.db", tmp_path / "sounds"
    journal = Journal(str(path), "30d", ignore, model="tiny")
    page, ask = serve(path, folder)
    recorder = Recorder(page, folder, journal)
    event = recorder.event(7)
    journal.close()
    say(ask, event, "a fox")
    for sound in folder.glob("*.flac"):
        os.utime(sound, (0, 0))
    recorder.kept._clean()
    assert list(folder.glob("*.flac")) == []
    _, later = serve(path, folder)
    (shown,) = json.loads(later("GET", "/past")[2])["events"]
    assert (shown["label"], later("GET", f"/sound?name={shown['sound']}")[0]) == ("a fox", 200)
    assert say(later, event, "a vixen")[0] == 200
    assert [row["caption_1"] for row in rows(folder)] == ["a vixen"]


@pytest.mark.parametrize("text", ["?", "=1+2", "- 3", "a" * 201, "12"])
def test_what_is_no_caption_is_refused(serve: Serve, tmp_path: Path, text: str) -> None:
    page, ask = serve(sounds=tmp_path)
    assert say(ask, Recorder(page, tmp_path).event(1), text)[0] == 422
    assert not (tmp_path / "labelled").exists()


def test_a_label_is_one_line_of_plain_text() -> None:
    assert label_of("a\u2028dog\x07 barks") == "a dog\\x07 barks"
    with pytest.raises(ValueError, match="in words"):
        label_of("...")


def test_only_the_page_itself_labels_and_only_with_the_token(serve: Serve, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path, address="0.0.0.0:0", token=TOKEN)
    event, bearer = Recorder(page, tmp_path).event(1), {"Authorization": f"Bearer {TOKEN}"}
    assert say(ask, event, "a fox")[0] == 401
    assert say(ask, event, "a fox", Origin="http://evil.example", **bearer)[0] == 403
    assert say(ask, event, "a fox", Origin=None, **bearer)[0] == 403
    assert say(ask, event, "a fox", Sec_Fetch_Site="cross-site", **bearer)[0] == 403
    assert say(ask, event, "a fox", Content_Type="text/plain", **bearer)[0] == 415  # as a form could send it
    assert ask("GET", "/label", None, **bearer)[0] == 404
    assert not (tmp_path / "labelled").exists()
    assert say(ask, event, "a fox", **bearer)[0] == 200


def test_only_events_with_a_kept_sound_are_labelled_or_drawn(serve: Serve, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path)
    recorder, now = Recorder(page, tmp_path), time.time()
    event, going_on = recorder.event(1, began=now), recorder.event(2, began=now + 9, ends=False)
    json_type: dict[str, str | None] = {"Content_Type": "application/json"}
    for given in (
        named(going_on, text="x"),
        named(event, text="x") | {"source": "another"},
        {"began": "2020-01-01T00:00:00.000+00:00", "source": "", "text": "x"},
    ):
        assert ask("POST", "/label", json.dumps(given).encode(), **json_type)[0] == 404
    for wrong in (b"[]", b"{", b"", b"\xff", b"[" * 4000):
        assert ask("POST", "/label", wrong, **json_type)[0] == 415
    for began in ("now", "10000-01-01", "../../etc/passwd", ["x"]):
        assert ask("POST", "/label", json.dumps({"began": began}).encode(), **json_type)[0] == 400
    assert ask("POST", "/label", b"{" + b" " * 5000 + b"}", **json_type)[0] == 413
    assert ask("GET", "/picture?began=x")[0] == 400
    for sound in tmp_path.glob("*.flac"):
        sound.unlink()
    assert say(ask, event, "a fox")[0] == 404
    quiet, ask = serve()
    assert say(ask, Recorder(quiet, tmp_path).event(3), "a fox")[0] == 404
    recorder.kept.close()


def test_a_table_that_cannot_be_read_or_written_is_told_and_left_as_it_is(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, ask = serve(sounds=tmp_path)
    event = Recorder(page, tmp_path).event(1)
    table = tmp_path / "labelled" / "labels.csv"
    table.parent.mkdir()
    for damaged, reason in (
        ("name,what\nx,y\n", "lacks the columns"),
        ('file,caption_1\n"x,y\n', "cannot be read"),
        ("\x00\n", "lacks the columns"),
    ):
        table.write_text(damaged)
        code, _, body = say(ask, event, "a fox")
        assert (code, table.read_text()) == (503, damaged)
        assert reason in json.loads(body)["error"]
        assert ask("GET", "/past")[0] == 200
    table.unlink()
    monkeypatch.setattr(web_labels, "MOST_LABELS", 0)
    assert "move the folder away" in json.loads(say(ask, event, "a fox")[2])["error"]
    monkeypatch.undo()
    table.parent.rmdir()
    table.parent.write_text("in the way")
    assert "cannot be" in json.loads(say(ask, event, "a fox")[2])["error"]


def test_a_full_disk_leaves_the_labels_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = Labels(tmp_path)
    event = Event(1, 0.0, 1.0, 0.0, 1.0, "a dog", -0.1, -20.0, 0, False, "x")
    (tmp_path / "sound").write_bytes(b"sound")
    with (tmp_path / "sound").open("rb") as sound:
        labels.put(event, "a.flac", sound, "a fox")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with (tmp_path / "sound").open("rb") as sound, pytest.raises(Exception, match="No space left"):
        labels.put(event, "b.flac", sound, "a cat")
    monkeypatch.undo()
    assert labels.texts() == {"a.flac": "a fox"}
    assert sorted(path.name for path in labels.folder.iterdir()) == ["a.flac", "labels.csv"]


def test_the_picture_of_an_event_shows_its_sound(serve: Serve, tmp_path: Path) -> None:
    page, ask = serve(sounds=tmp_path)
    event = Recorder(page, tmp_path).event(1)
    code, _, body = ask("GET", f"/picture?{urlencode(named(event))}")
    picture = json.loads(body)
    assert (code, picture["seconds"], picture["start"], picture["end"]) == (200, 5.0, 1.0, 4.5)
    columns = np.frombuffer(b64decode(picture["columns"]), np.uint8).reshape(-1, picture["bands"])
    assert len(columns) == pytest.approx(5.0 / 0.03, abs=2)
    assert columns.mean() > 60  # noise is loud in all bands


def test_a_long_sound_gets_wider_columns_and_its_pitch_is_where_it_is(captioner: Captioner, tmp_path: Path) -> None:
    front_end = captioner.manifest.front_end
    sound = np.concatenate([tone(50), 1e-5 * noise(50)])
    soundfile.write(tmp_path / "long.flac", sound, RATE)
    picture: dict[str, Any] = spectrogram(tmp_path / "long.flac", front_end)
    columns = np.frombuffer(b64decode(picture["columns"]), np.uint8).reshape(-1, picture["bands"])
    assert PICTURE_COLUMNS / 2 < len(columns) <= PICTURE_COLUMNS
    half = len(columns) // 2
    peaks = columns[: half - 2].argmax(axis=1)
    assert peaks.min() == peaks.max() < picture["bands"] / 2
    assert columns[half + 2 :].mean() < 10 < columns[: half - 2].max(axis=1).min()
    soundfile.write(tmp_path / "short.flac", tone(0.01), RATE)
    assert spectrogram(tmp_path / "short.flac", front_end)["seconds"] == 0.01
