"""The taught sounds of a folder, ready for a captioner."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from edgecap.captioner import Captioner
from edgecap.errors import EdgecapError
from edgecap.sounds.bank import Bank, load_bank
from edgecap.sounds.matcher import SoundMatcher
from edgecap.sounds.sound import TaughtSound
from edgecap.sounds.store import SoundStore
from edgecap.teaching.examples import example_of
from edgecap.teaching.learn import learn, relearn
from edgecap.types import Notify


def with_taught_sounds(captioner: Captioner, folder: Path | None, notify: Notify) -> Captioner:
    """The captioner with the sounds of a folder (None: `sounds_folder()`), or itself where there are none.

    As `taught_sounds`.
    """
    matcher = taught_sounds(captioner, SoundStore(folder), notify)
    return captioner if matcher is None else captioner.with_sounds(matcher)


def taught_sounds(captioner: Captioner, store: SoundStore, notify: Notify) -> SoundMatcher | None:
    """What recognises the sounds of a folder with this model; None where there are none.

    A file that cannot be read, and a sound of another model without kept examples, is told as a warning and left out;
    one with kept examples is learnt again and saved. Raises DataError for a folder or a bank that cannot be read.
    """
    stored = store.load()
    for fault in stored.faults:
        notify("warning", fault)
    if not stored.sounds:
        return None
    bank = load_bank(captioner.bundle)
    sounds = [_fitting(captioner, store, sound, bank, notify) for sound in stored.sounds]
    ready = [sound for sound in sounds if sound is not None]
    return SoundMatcher(ready, bank) if ready else None


def _fitting(
    captioner: Captioner, store: SoundStore, sound: TaughtSound, bank: Bank, notify: Notify
) -> TaughtSound | None:
    """The sound for this model, learnt again where that is needed and possible."""
    if sound.model == bank.model:
        return sound if sound.bank == bank.identity else _by_bank(store, sound, bank, notify)
    if not sound.recordings:
        notify(
            "warning",
            f"{sound.name!r} was taught with another model and is not recognised; teach it again with --force "
            "(with --keep-examples, a new model learns it by itself)",
        )
        return None
    try:
        recordings = store.recordings(sound.name)
        examples = [
            example_of(captioner, _samples(data), f"kept example {number} of {sound.name!r}")
            for number, data in enumerate(recordings, start=1)
        ]
        fresh = relearn(sound, examples, bank)
        store.save(fresh, recordings, replace_old=True)
    except EdgecapError as error:
        notify("warning", f"{sound.name!r} was taught with another model and could not be learnt again: {error}")
        return None
    notify("note", f"{sound.name!r} was taught with another model; it was learnt again from its kept examples")
    return fresh


def _by_bank(store: SoundStore, sound: TaughtSound, bank: Bank, notify: Notify) -> TaughtSound:
    """The sound with scores by this bank, from its stored embeddings; saved where that is possible."""
    fresh = learn(sound.name, (), (), bank, false_alarms=sound.false_alarms, before=sound, strict=False).sound
    try:
        store.save(fresh, store.recordings(sound.name), replace_old=True)
    except EdgecapError as error:
        notify("warning", f"{sound.name!r} is recognised by another bank, which could not be saved: {error}")
    return fresh


def _samples(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Mono samples of a kept FLAC file."""
    import soundfile  # a listener that has learnt nothing needs none

    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    return np.asarray(samples, np.float32)
