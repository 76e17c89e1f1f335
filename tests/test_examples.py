"""The example sounds: each listed with its source, licence and hash, each readable, each form of file shown."""

from __future__ import annotations

import importlib.util
import io
import shutil
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from edgecap.audio.file import AudioFile
from edgecap.audio.samples import loudest_level, to_mono

EXAMPLES = Path(__file__).parents[1] / "examples"
NO_SOUNDS = {"SOURCES.md", "collect.py", "embed", "__pycache__"}
SOUNDS = sorted(path.name for path in EXAMPLES.iterdir() if path.name not in NO_SOUNDS)


@pytest.fixture(scope="module")
def collect() -> ModuleType:
    """examples/collect.py, a script outside the packages."""
    spec = importlib.util.spec_from_file_location("collect", EXAMPLES / "collect.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["collect"] = module
    spec.loader.exec_module(module)
    return module


def test_sources_lists_exactly_the_files_of_the_folder(collect: ModuleType) -> None:
    assert [example.name for example in collect.EXAMPLES] == SOUNDS


def test_sources_has_the_hash_of_every_file(collect: ModuleType) -> None:
    assert (EXAMPLES / "SOURCES.md").read_text(encoding="utf-8") == collect.sources()


def test_a_changed_sound_no_longer_fits_sources(collect: ModuleType, tmp_path: Path) -> None:
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples")
    with (copy / SOUNDS[0]).open("ab") as file:
        file.write(b"\0")
    assert collect.sources(copy) != (EXAMPLES / "SOURCES.md").read_text(encoding="utf-8")


def test_every_sound_names_its_authors_and_a_free_licence(collect: ModuleType) -> None:
    for example in collect.EXAMPLES:
        assert example.licence in collect.LICENCES, example.name
        assert min(len(example.authors), len(example.heard)) > 5, example.name
        assert bool(example.package) == bool(example.path), example.name


def test_the_sounds_are_small() -> None:
    assert sum((EXAMPLES / name).stat().st_size for name in SOUNDS) < 1_500_000


def test_every_kind_of_file_is_shown() -> None:
    assert {Path(name).suffix for name in SOUNDS} == {".wav", ".flac", ".ogg", ".opus", ".mp3"}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_can_be_read_and_is_not_silent(name: str) -> None:
    with AudioFile(EXAMPLES / name) as sound:
        samples = np.concatenate([to_mono(block) for block in sound.blocks()])
        assert 1.0 < samples.size / sound.sample_rate < 60.0
        assert loudest_level(samples, sound.sample_rate) > -40.0


def test_the_siren_is_what_its_code_computes(collect: ModuleType) -> None:
    made, rate = soundfile.read(io.BytesIO(collect.siren(b"")), dtype="int16")
    here, here_rate = soundfile.read(EXAMPLES / "siren.flac", dtype="int16")
    assert rate == here_rate
    # Another processor's sine may round the last bit the other way.
    assert np.max(np.abs(made.astype(int) - here.astype(int))) <= 1


def test_a_cut_sound_is_mono_and_of_the_requested_length(collect: ModuleType) -> None:
    stereo = io.BytesIO()
    soundfile.write(stereo, np.full((8_000, 2), [0.2, 0.4]), 8_000, format="WAV")
    cut, rate = soundfile.read(io.BytesIO(collect.cut(0.5, collect.FLAC, start=0.25, gain=0.5)(stereo.getvalue())))
    assert (rate, cut.shape) == (8_000, (4_000,))
    assert np.allclose(cut, 0.15, atol=1e-3)


def test_a_sound_that_is_made_again_may_differ_in_bytes_but_not_in_samples(collect: ModuleType) -> None:
    made = collect.siren(b"")
    wave, same = io.BytesIO(), soundfile.read(io.BytesIO(made))
    soundfile.write(wave, *same, format="WAV")
    assert collect.compared(made, made) == "the same bytes"
    assert collect.compared(wave.getvalue(), made) == "the same sound in other bytes"
    assert collect.compared((EXAMPLES / "dog.ogg").read_bytes(), made) == "ANOTHER SOUND"


def test_a_file_is_read_from_a_qt_resource_file(collect: ModuleType) -> None:
    names = b"".join(struct.pack(">HI", len(name), 0) + name.encode("utf-16-be") for name in ("sounds", "a.ogg"))
    folder, file = 0, 6 + 2 * len("sounds")
    tree = (
        struct.pack(">IHII", 0, 2, 1, 1)
        + struct.pack(">IHII", folder, 2, 1, 2)
        + struct.pack(">IHHHI", file, 0, 0, 0, 0)
    )
    content = struct.pack(">I", 5) + b"bytes"
    head = struct.pack(">4s4I", b"qres", 1, 20, 20 + len(tree), 20 + len(tree) + len(content))
    data = head + tree + content + names
    assert collect.resource(data, "sounds/a.ogg") == b"bytes"
    with pytest.raises(StopIteration):
        collect.resource(data, "sounds/b.ogg")
    with pytest.raises(ValueError, match="not a Qt resource"):
        collect.resource(b"none" + data[4:], "sounds/a.ogg")
