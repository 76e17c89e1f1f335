"""One lesson from beginning to end: the name is free, the sound is learnt and told apart, and it is saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecap.captioner import Captioner
from edgecap.errors import DataError
from edgecap.sounds.bank import load_bank
from edgecap.sounds.store import SoundStore, taken
from edgecap.teaching.examples import SoundExample
from edgecap.teaching.learn import Lesson, check_confusion, learn


@dataclass(frozen=True)
class TeachRequest:
    """What is to be taught, and how."""

    name: str
    false_alarms: float = 1.0 / 24.0
    """Wanted false alarms an hour."""
    more: bool = False
    """Add to the sound of that name."""
    force: bool = False
    """Replace a sound of that name, and learn from examples unlike each other, or much like another sound."""
    keep: bool = False
    """Keep the recordings in the sound's file."""

    def check(self, store: SoundStore) -> None:
        """Raise ConfigError for a name that cannot be used or is taken, DataError where --more finds no sound."""
        if self.more:
            store.get(self.name)
        elif not self.force and store.holds(self.name):
            raise taken(self.name)


def teach_sound(
    captioner: Captioner,
    store: SoundStore,
    request: TeachRequest,
    examples: Sequence[SoundExample],
    counter_examples: Sequence[SoundExample] = (),
) -> Lesson:
    """Learn a sound and save it. Raises as `learn`, `check_confusion` and `SoundStore.save`; then nothing changed."""
    request.check(store)
    bank = load_bank(captioner.bundle)
    before = store.get(request.name) if request.more else None
    if before is not None and before.model != bank.model:
        raise DataError(f"{before.name!r} was taught with another model; teach it again with --force instead of --more")
    lesson = learn(
        request.name,
        examples,
        counter_examples,
        bank,
        false_alarms=request.false_alarms,
        before=before,
        strict=not request.force,
    )
    if not request.force:
        check_confusion(lesson.sound, store.load().sounds, bank)
    kept = store.recordings(request.name) if before is not None and before.recordings else ()
    if request.keep or kept:
        kept = (*kept, *(example.flac() for example in examples))
    store.save(lesson.sound, kept, replace_old=request.more or request.force)
    return replace(lesson, sound=replace(lesson.sound, recordings=len(kept)))
