"""Captions of many sounds are those of one sound after the other."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgecap.audio.file import AudioFile
from edgecap.batching.batch_captioner import BatchCaptioner, CaptionedSound, CaptionedWindow, SoundEnd
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap.sounds.bank import frame_embeddings, load_bank
from edgecap.sounds.matcher import SoundMatcher
from edgecap.sounds.sound import TaughtSound
from support.signals import RATE, noise, tone
from support.source_tree import REPOSITORY
from support.teaching.taught_sounds import chime, shipped_captioner

EXAMPLES = sorted(
    path for path in (REPOSITORY / "examples").iterdir() if path.suffix in {".ogg", ".flac", ".wav", ".mp3"}
)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of many lengths and rates, some silent in places, one damaged, one missing, one empty of sound."""
    folder = tmp_path_factory.mktemp("many")
    for number, seconds in enumerate((0.01, 0.2, 0.7, 3.0, 9.99, 10.0, 10.9, 11.2, 26.5)):
        rate = (RATE, 8_000, 44_100)[number % 3]
        sound = noise(seconds + 1)[: max(1, round(seconds * rate))] if rate <= RATE else tone(seconds, rate)
        soundfile.write(folder / f"{number}.wav", sound, rate)
    soundfile.write(folder / "quiet.wav", np.zeros(25 * RATE, np.float32), RATE)
    soundfile.write(folder / "parts.flac", np.concatenate([noise(10), np.zeros(20 * RATE), tone(5)]), RATE)
    soundfile.write(folder / "cut.flac", noise(14), RATE)
    data = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) * 4 // 5])
    (folder / "text.wav").write_text("no sound\n")
    names = [*"012345678", "quiet", "parts"]
    files = [folder / f"{name}.flac" if name == "parts" else folder / f"{name}.wav" for name in names]
    return [*files[:3], folder / "missing.wav", folder / "cut.flac", *files[3:], folder / "text.wav"]


Plain = tuple[Path, list[Caption], str | None]


def one_by_one(captioner: Captioner, files: Sequence[Path], **options: float) -> list[Plain]:
    results = []
    for file in files:
        captions, fault = list[Caption](), None
        try:
            for caption in captioner.caption_file(file, **options):  # type: ignore[arg-type]
                captions.append(caption)
        except AudioError as error:
            fault = str(error)
        results.append((file, captions, fault))
    return results


def plain(done: CaptionedSound[Path]) -> Plain:
    return done.key, list(done.captions), None if done.fault is None else str(done.fault)


def pairs(files: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    return ((file, file) for file in files)


@pytest.mark.parametrize("batch", [None, 1, 3, 16])
def test_the_captions_are_those_of_one_by_one(captioner: Captioner, many: list[Path], batch: int | None) -> None:
    done = list(BatchCaptioner(captioner, batch).caption_sounds(pairs(many)))
    assert [plain(each) for each in done] == one_by_one(captioner, many)
    assert any(each.fault and each.captions for each in done)
    assert any(each.fault and not each.captions for each in done)
    for each in done:
        assert [vector is None for vector in each.embeddings] == [caption.silent for caption in each.captions]


@pytest.mark.parametrize(
    "options", [{"window": 4.0, "hop": 1.0}, {"hop": 2.5, "beam": 1}, {"window": 2.0, "hop": 7.03}]
)
def test_windows_hops_and_beams_are_those_of_one_by_one(
    captioner: Captioner, many: list[Path], options: dict[str, float]
) -> None:
    done = BatchCaptioner(captioner).caption_sounds(pairs(many), **options)  # type: ignore[arg-type]
    assert [plain(each) for each in done] == one_by_one(captioner, many, **options)


def test_shipped_model_on_the_examples() -> None:
    captioner = shipped_captioner()
    done = BatchCaptioner(captioner).caption_sounds(pairs(EXAMPLES))
    texts = {each.key.name: [caption.text for caption in each.captions] for each in done}
    assert texts == {file.name: [one.text for one in captions] for file, captions, _ in one_by_one(captioner, EXAMPLES)}


def test_taught_sounds_and_confidence_are_those_of_one_by_one(tmp_path: Path) -> None:
    captioner = shipped_captioner()
    soundfile.write(tmp_path / "chime.wav", chime(1), RATE)
    bank, frames = load_bank(captioner.bundle), frame_embeddings(captioner.encode_samples(chime(0)))
    sound = TaughtSound("chime", "chime", bank.model, 0.0, 50.0, (frames,), ())
    taught = captioner.with_sounds(SoundMatcher([sound], bank))
    files = [tmp_path / "chime.wav", *EXAMPLES[:2]]
    done = list(BatchCaptioner(taught).caption_sounds(pairs(files)))
    assert [plain(each) for each in done] == one_by_one(taught, files)
    (caption,) = done[0].captions
    assert caption.sounds
    assert caption.confidence is not None


def test_the_embedding_is_that_of_the_encoder(captioner: Captioner, sounds: Path) -> None:
    (done,) = BatchCaptioner(captioner).caption_sounds([("a", sounds / "noise.wav")])
    expected = captioner.encode_samples(soundfile.read(sounds / "noise.wav", dtype="float32")[0]).clip_embedding
    assert done.embeddings[0] is not None
    np.testing.assert_array_equal(done.embeddings[0], expected)


def test_windows_come_while_a_long_sound_is_read(captioner: Captioner, sounds: Path) -> None:
    steps = list(BatchCaptioner(captioner, 1).caption_windows([(7, sounds / "long.wav")]))
    assert [type(step) for step in steps] == [CaptionedWindow] * 3 + [SoundEnd]
    assert [step.key for step in steps] == [7] * 4


def test_what_comes_before_a_pipe_does_not_wait_for_it(captioner: Captioner, sounds: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    steps = BatchCaptioner(captioner).caption_windows(pairs([sounds / "noise.wav", pipe]))
    first, end = next(steps), next(steps)  # nobody writes to the pipe yet
    assert (type(first), type(end)) == (CaptionedWindow, SoundEnd)
    pipe.write_bytes((sounds / "noise.wav").read_bytes())
    (second, _) = steps
    assert isinstance(first, CaptionedWindow)
    assert isinstance(second, CaptionedWindow)
    assert (second.key, second.caption) == (pipe, first.caption)


def test_what_the_iterable_raises_comes_behind_the_sounds_before_it(captioner: Captioner, sounds: Path) -> None:
    def names() -> Iterator[tuple[int, Path]]:
        yield 1, sounds / "noise.wav"
        yield 2, sounds / "silence.wav"
        raise LookupError("no more")

    done = BatchCaptioner(captioner, 16).caption_sounds(names())
    assert [next(done).key, next(done).key] == [1, 2]
    with pytest.raises(LookupError, match="no more"):
        next(done)


@pytest.mark.parametrize("options", [{"window": 11.0}, {"hop": 0.0}, {"beam": 0}])
def test_options_out_of_range_are_refused_at_once(captioner: Captioner, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        BatchCaptioner(captioner).caption_sounds([], **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 1 and 64, not 0"):
        BatchCaptioner(captioner, 0)


def test_no_sounds_are_no_captions(captioner: Captioner) -> None:
    assert list(BatchCaptioner(captioner).caption_sounds([])) == []


def test_only_a_few_sounds_are_open_or_read_ahead(captioner: Captioner, sounds: Path) -> None:
    opened: list[AudioFile] = []

    def files() -> Iterator[tuple[int, AudioFile]]:
        for number in range(200):
            opened.append(AudioFile(sounds / "noise.wav"))
            yield number, opened[-1]

    done = BatchCaptioner(captioner, 2).caption_sounds(files())
    next(done)
    done.close()  # type: ignore[attr-defined]  # a generator
    assert len(opened) <= 2 * 4 + 1  # two batches that wait, one in work, one taken
    assert not decoding_threads()


def test_stopping_early_ends_the_thread_and_closes_the_sound(captioner: Captioner, sounds: Path) -> None:
    sound = AudioFile(sounds / "long.wav")
    steps = BatchCaptioner(captioner, 1).caption_windows([(0, sound), *((n, sounds / "long.wav") for n in range(50))])
    next(steps)
    assert decoding_threads()
    steps.close()
    assert not decoding_threads()
    (dropped,) = [BatchCaptioner(captioner, 1).caption_windows([(0, sounds / "long.wav")])]
    next(dropped)
    del dropped
    gc.collect()
    assert not decoding_threads()


def test_a_process_ends_in_the_middle_of_a_batch_without_a_word(tiny_folder: Path, sounds: Path) -> None:
    code = f"""
from itertools import repeat
from edgecap.batching.batch_captioner import BatchCaptioner
from edgecap.captioner import Captioner
captioner = Captioner.load({str(tiny_folder)!r}, threads=1)
steps = BatchCaptioner(captioner, 2).caption_windows(repeat((0, {str(sounds / "long.wav")!r})))
print(next(steps).caption.end)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10.0\n", "")


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("edgecap decoding")]
