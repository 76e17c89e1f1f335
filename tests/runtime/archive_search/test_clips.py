"""Clips are the stretches of the sources that were found, under safe names; what is missing stops nothing."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.archive_search.clips import clip_name, export_clips
from edgecap.archive_search.conditions import Conditions
from edgecap.archive_search.playable import SoundPart, in_folder
from edgecap.archive_search.search import Searcher, open_source
from edgecap.errors import DataError
from edgecap.live.sinks.journal import Journal
from support.live_parts import ignore
from support.signals import RATE
from support.web_parts import change


def ramp(folder: Path, name: str, seconds: int = 30, rate: int = 8000) -> Path:
    """A stereo file whose samples say where they are: the left channel rises by a thousandth each second."""
    folder.mkdir(parents=True, exist_ok=True)
    left = np.repeat(np.arange(seconds) / 1000, rate)
    soundfile.write(folder / name, np.stack([left, -left], axis=1), rate, "PCM_16", format="WAV")
    return folder / name


def seconds_in(path: Path) -> tuple[int, int, int]:
    """First and last second that a clip of `ramp` is from, and its rate."""
    samples, rate = soundfile.read(path)
    assert np.allclose(samples[:, 0], -samples[:, 1], atol=1e-4)
    return round(samples[0, 0] * 1000), round(samples[-1, 0] * 1000), rate


def test_a_clip_has_the_seconds_rate_and_channels_of_its_source(tmp_path: Path) -> None:
    sound = ramp(tmp_path, "a.wav")
    parts = [
        SoundPart(str(sound), 10.0, 20.0),
        None,
        SoundPart(str(sound), 5.0, 8.0),
        SoundPart(str(sound), 28.0, 38.0),
    ]
    assert list(export_clips(parts, tmp_path / "clips")) == []
    names = sorted(path.name for path in (tmp_path / "clips").iterdir())
    assert [re.sub("-[0-9a-f]{8}-", "-KEY-", name) for name in names] == [
        "001-a-KEY-10.0s.wav",
        "003-a-KEY-5.0s.wav",
        "004-a-KEY-28.0s.wav",
    ]
    spans = [seconds_in(tmp_path / "clips" / name) for name in names]
    assert spans == [(10, 19, 8000), (5, 7, 8000), (28, 29, 8000)]


def test_sources_that_are_missing_damaged_or_shorter_are_reported_and_the_others_written(tmp_path: Path) -> None:
    good, short = ramp(tmp_path, "good.wav"), ramp(tmp_path, "short.wav", 3)
    (tmp_path / "text.wav").write_text("a dog barks")
    addresses = [tmp_path / "missing.wav", tmp_path / "text.wav", short, "nothing://x/a.wav", good]
    parts = [SoundPart(str(address), 10.0, 20.0) for address in addresses]
    errors = [str(error) for error in export_clips(parts, tmp_path / "clips")]
    assert len(errors) == 4
    assert all(
        any(name in error for error in errors) for name in ("missing.wav", "text.wav", "short.wav", "nothing://")
    )
    assert [path.name[:8] for path in (tmp_path / "clips").iterdir()] == ["005-good"]


@pytest.mark.parametrize("name", ["a b'c\"d;rm -rf $(x).wav", "...wav", "-rf.wav", "ä" * 80 + ".wav", "new\nline.wav"])
def test_names_are_safe_whatever_the_source_is_called(tmp_path: Path, name: str) -> None:
    sound = ramp(tmp_path / "in", name, 3)
    assert list(export_clips([SoundPart(str(sound), 0.0, 2.0)], tmp_path / "clips")) == []
    (clip,) = (tmp_path / "clips").iterdir()
    assert re.fullmatch(r"001-[A-Za-z0-9][A-Za-z0-9._-]{0,59}-[0-9a-f]{8}-0\.0s\.wav", clip.name)


def test_sources_of_one_name_and_second_have_clips_of_their_own() -> None:
    assert clip_name(1, SoundPart("/a/x.wav", 1.0, 2.0)) != clip_name(1, SoundPart("/b/x.wav", 1.0, 2.0))
    assert clip_name(1, SoundPart("../../etc/passwd", 1.0, 2.0)).startswith("001-passwd-")


def test_a_clip_of_a_member_of_a_tar_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name in ("x.wav", "y.wav"):
            tar.add(ramp(tmp_path, name), name)
    parts = [SoundPart(f"tar://{name}::{tmp_path}/all.tar", 7.0, 9.0) for name in ("y.wav", "gone.wav")]
    (error,) = export_clips(parts, tmp_path / "clips")
    assert "gone.wav" in str(error)
    (clip,) = (tmp_path / "clips").iterdir()
    assert re.fullmatch(r"001-y-[0-9a-f]{8}-7\.0s\.wav", clip.name)
    assert seconds_in(clip)[:2] == (7, 8)


def test_the_kept_sounds_of_a_journals_events(tmp_path: Path) -> None:
    from support.web_parts import Recorder

    class Nowhere:
        def on_event(self, _change: object) -> None:
            pass

    journal = Journal(str(tmp_path / "events.db"), "30d", ignore, model="tiny")
    recorder = Recorder(Nowhere(), tmp_path / "kept", journal)  # type: ignore[arg-type]
    event = recorder.event(1)
    journal.on_event(change("end", 2, "rain falls"))
    journal.close()
    recorder.kept.close()
    with open_source(str(tmp_path / "events.db")) as source:
        hits = Searcher(source).newest(Conditions(), 10).hits
    rain, dog = in_folder(hits, tmp_path / "kept")
    assert rain is None
    assert dog is not None
    assert (dog.start, dog.end) == (1.0, 1.0 + event.end - event.start)
    assert in_folder(hits, None) == [None, None]
    assert list(export_clips([rain, dog], tmp_path / "clips")) == []
    (clip,) = (tmp_path / "clips").iterdir()
    assert soundfile.info(clip).samplerate == RATE
    with pytest.raises(DataError, match="name the folder of --keep-audio"):
        in_folder(hits, tmp_path / "nowhere")
