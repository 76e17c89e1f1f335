"""Examples to a taught sound: which example is odd, where the threshold lies, what it would be mistaken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from edgecap.errors import ConfigError, DataError
from edgecap.sounds.bank import Bank
from edgecap.sounds.detector import Detector
from edgecap.sounds.names import identifier_of, shown_name
from edgecap.sounds.rates import show_rate
from edgecap.sounds.sound import Frames, TaughtSound
from edgecap.teaching.examples import SoundExample
from edgecap.util.limits import MOST_EXAMPLES

ODD_PER_HOUR, ODD_AMONG_ALIKE = 60.0, 12.0
"""An example that the others find no more alike than what unrelated sounds hold so often an hour is not of their sound;
the second holds where most examples are much alike."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What was learnt."""

    sound: TaughtSound
    notes: tuple[str, ...]
    """What the user should know, a line each."""


def learn(
    name: str,
    examples: Sequence[SoundExample],
    counter_examples: Sequence[SoundExample],
    bank: Bank,
    *,
    false_alarms: float,
    before: TaughtSound | None = None,
    strict: bool = True,
) -> Lesson:
    """Learn a sound; `before` is one of the same name to which these examples are added.

    `false_alarms` is the wanted rate an hour. Raises DataError where there is no example, or too many, or, if `strict`,
    where one does not resemble the others (naming it), ConfigError for a name that cannot be used.
    """
    identifier = identifier_of(name)
    if before is not None:
        false_alarms = false_alarms or before.false_alarms
    old = () if before is None else before.examples
    positives = (*old, *(example.frames for example in examples))
    labels = [*(f"example {number} of before" for number in range(1, len(old) + 1)), *(e.label for e in examples)]
    negatives = (*(() if before is None else before.counter_examples), *(e.frames for e in counter_examples))
    if not 1 <= len(positives) <= MOST_EXAMPLES:
        raise DataError(
            f"a sound needs 1 to {MOST_EXAMPLES} examples, not {len(positives)}; name a few recordings of it"
        )
    likeness = _likeness(labels, positives, bank, strict)
    detector = Detector(positives, negatives, bank)
    threshold = detector.threshold(false_alarms)
    sound = TaughtSound(
        name=shown_name(name),
        identifier=identifier,
        model=bank.model,
        threshold=threshold,
        typical=max(float(np.mean(likeness)), threshold),
        examples=positives,
        counter_examples=negatives,
        created=datetime.now(UTC).isoformat(timespec="seconds") if before is None else before.created,
        false_alarms=false_alarms,
        recordings=0 if before is None else before.recordings,
        bank=bank.identity,
    )
    notes, missed = list[str](), sum(score < threshold for score in likeness)
    if missed:
        notes.append(
            f"{missed} of {len(positives)} examples would be missed if only the others were known, at "
            f"{show_rate(false_alarms)} false alarms; more examples, or a higher --false-alarms, help"
        )
    for example in counter_examples:
        if detector.best(example.frames).score >= threshold:
            notes.append(f"{example.label} still sounds like {name!r}; add more examples of both")
    return Lesson(sound, tuple(notes))


def check_confusion(sound: TaughtSound, known: Sequence[TaughtSound], bank: Bank) -> None:
    """Raise ConfigError where a sound and a known one are taken for each other, saying how often."""
    for other in known:
        if other.identifier == sound.identifier or other.model != bank.model:
            continue
        taken = _recognised(other, sound.examples, bank)
        taking = _recognised(sound, other.examples, bank)
        if 2 * taken >= len(sound.examples) or 2 * taking >= len(other.examples):
            raise ConfigError(
                f"{sound.name!r} is too much like {other.name!r}: {taken} of its {len(sound.examples)} examples are "
                f"taken for that, and {taking} of that one's {len(other.examples)} for it; name the other's "
                f"recordings with --not, or keep both with --force"
            )


def relearn(sound: TaughtSound, examples: Sequence[SoundExample], bank: Bank) -> TaughtSound:
    """A sound of another model, learnt again from its kept examples, without counter-examples. Raises DataError."""
    fresh = replace(sound, model=bank.model, examples=(), counter_examples=())
    return learn(sound.name, examples, (), bank, false_alarms=sound.false_alarms, before=fresh, strict=False).sound


def _likeness(labels: Sequence[str], positives: Sequence[Frames], bank: Bank, strict: bool) -> list[float]:
    """The score of each example by what the others teach, of a single one its own. Raises DataError naming odd ones."""
    if len(positives) == 1:
        return [Detector(positives, (), bank).best(positives[0]).score]
    scores, limits = list[float](), list[tuple[float, ...]]()
    for number, frames in enumerate(positives):
        others = Detector([*positives[:number], *positives[number + 1 :]], (), bank)
        scores.append(others.best(frames).score)
        limits.append(tuple(map(others.threshold, (ODD_PER_HOUR, ODD_AMONG_ALIKE, 1.0))))
    alike = float(np.median(scores)) >= float(np.median([limit[2] for limit in limits]))
    odd = [label for label, score, limit in zip(labels, scores, limits, strict=True) if score < limit[alike]]
    if not strict:
        return scores
    if odd and len(positives) == 2:
        raise DataError(
            f"{labels[0]} and {labels[1]} do not resemble each other; if both are the same sound, add --force"
        )
    if odd:
        raise DataError(
            f"{' and '.join(odd[:3])} {'does' if len(odd) == 1 else 'do'} not resemble the other examples; "
            "listen to it, leave it out, or learn from all with --force"
        )
    return scores


def _recognised(sound: TaughtSound, examples: Sequence[Frames], bank: Bank) -> int:
    """How many examples are taken for a sound."""
    detector = Detector.of(sound, bank)
    return sum(detector.best(frames).score >= sound.threshold for frames in examples)
