"""The settings of an archive: what a first run writes, and what later ones are held to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TypeVar

from edgecap._version import __version__
from edgecap.archive.addresses import absolute
from edgecap.archive.schema import SETTINGS, ArchivedModel, ArchiveSettings, CaptionOptions
from edgecap.archive.store import ArchiveStore
from edgecap.captioner import Captioner
from edgecap.errors import ConfigError, OutputError
from edgecap.sounds.sound import TaughtSound
from edgecap.util.limits import MOST_SETTINGS
from edgecap.util.text import clean

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WantedOptions:
    """What the user asks for; None is the archive's own value, in a new archive the default."""

    window: float | None = None
    hop: float | None = None
    beam: int | None = None
    time_from: str | None = None
    time_zone: str | None = None


def read_settings(store: ArchiveStore) -> ArchiveSettings | None:
    """The settings of an archive; None where there is none yet and nothing else is.

    Raises OutputError for a place that holds other files, and for settings that cannot be read.
    """
    files = store.sizes()
    if not files:
        return None
    data = store.read(SETTINGS, MOST_SETTINGS) if SETTINGS in files else None  # it is written before all others
    if data is None:
        raise OutputError(f"{store.address} holds files and is no archive; name a new folder with -o")
    try:
        return ArchiveSettings.from_json(data)
    except ValueError as error:  # msgspec's errors too
        raise OutputError(
            f"{store.address}/{SETTINGS} cannot be used ({clean(str(error))}); restore it, or name another "
            "folder with -o"
        ) from error


def chosen_settings(
    captioner: Captioner, old: ArchiveSettings | None, wanted: WantedOptions, inputs: tuple[str, ...]
) -> ArchiveSettings:
    """The settings for a run with a captioner, in an archive that may have some.

    Raises ConfigError where a new archive gets no input, ValueError for a window, hop or beam out of range.
    """
    manifest, before = captioner.manifest, old.options if old else None

    def value(name: str, default: T) -> T:
        known: list[T | None] = [getattr(wanted, name), getattr(before, name) if before else None]
        return next((each for each in known if each is not None), default)

    window = value("window", captioner.window)
    options = CaptionOptions(
        window=window,
        hop=value("hop", window),
        beam=value("beam", manifest.decoder.default_beam),
        sounds=sounds_digest(captioner.matcher.sounds if captioner.matcher else ()),
        time_from=value("time_from", "name"),
        time_zone=value("time_zone", "UTC"),
    )
    captioner.check_windows(window=options.window, hop=options.hop)
    addresses = [*dict.fromkeys(map(absolute, inputs))] or (old.inputs if old else [])
    if not addresses:
        raise ConfigError("there is no input; name folders, sound files, patterns, tar files or manifests")
    return ArchiveSettings(
        model=ArchivedModel(manifest.name, captioner.bundle.identity, manifest.runtime),
        options=options,
        embedding_dim=manifest.encoder.embedding_dim,
        inputs=addresses,
        created=old.created if old else datetime.now(UTC).isoformat(timespec="seconds"),
    )


def compare(store: ArchiveStore, old: ArchiveSettings | None, new: ArchiveSettings) -> None:
    """Raise OutputError where an archive has other settings than a run; more inputs are no difference."""
    difference = _difference(old, new) if old else ""
    if difference:
        raise OutputError(f"{store.address} {difference}, or name another folder with -o")


def settle(store: ArchiveStore, new: ArchiveSettings) -> None:
    """Write the settings of a new archive, or of one with more inputs. Raises OutputError where others are there."""
    if store.create(SETTINGS, new.to_json()):
        return
    old = read_settings(store)
    compare(store, old, new)
    if old is not None and old.inputs != new.inputs:
        store.write(SETTINGS, new.to_json())


def _difference(old: ArchiveSettings, new: ArchiveSettings) -> str:
    """What keeps the two apart, and what to type; empty where nothing does."""
    if old.edgecap != new.edgecap:
        return f"was made by edgecap {old.edgecap} and this is {__version__}; install that one"
    if old.model != new.model:
        was, now = old.model, new.model
        return (
            f"was made with the model {clean(was.name)} ({was.sha256[:12]}…) and this is {clean(now.name)} "
            f"({now.sha256[:12]}…); name that one with --model"
        )
    if old.options.sounds != new.options.sounds:
        return "was made with other taught sounds; set EDGECAP_SOUNDS to the folder with those"
    for field in fields(CaptionOptions):
        was_value, value = getattr(old.options, field.name), getattr(new.options, field.name)
        if was_value != value:
            option = f"--{field.name.replace('_', '-')}"
            return f"was made with {option} {was_value} and this is {option} {value}; type {option} {was_value}"
    missing = [address for address in old.inputs if address not in new.inputs]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"was made from {clean(missing[0])}{more} too; name that as well, or no input to go on with all"
    return ""


def sounds_digest(sounds: tuple[TaughtSound, ...]) -> str | None:
    """What tells sets of taught sounds apart; None without any."""
    if not sounds:
        return None
    digest = hashlib.sha256()
    for sound in sorted(sounds, key=lambda sound: sound.identifier):
        digest.update(f"{sound.name}\n{sound.identifier}\n{sound.threshold}\n{sound.typical}\n".encode())
        for example in (*sound.examples, *sound.counter_examples):
            digest.update(example.tobytes())
    return digest.hexdigest()
