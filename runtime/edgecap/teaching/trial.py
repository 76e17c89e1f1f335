"""Which taught sounds are heard in the files of a folder, and how many recordings of each are recognised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgecap.audio.file import SOUND_SUFFIXES
from edgecap.caption import SoundMatch
from edgecap.captioner import Captioner
from edgecap.errors import AudioError, DataError, reason_of
from edgecap.sounds.names import identifier_of
from edgecap.util.files import to_json
from edgecap.util.text import clean


@dataclass(frozen=True)
class Trial:
    """What was heard in a folder."""

    recordings: Counter[str]
    """Recordings of each sound: files in a folder with its name."""
    recognised: Counter[str]
    """Those of them in which it was heard."""
    elsewhere: Counter[str]
    """Files in which a sound was heard, and which are not its recordings."""
    files: int

    def summary(self, json: bool) -> list[str]:
        """A line for each sound, as JSON or to be read."""
        lines = []
        for name in sorted(self.recordings | self.elsewhere):
            other = self.files - self.recordings[name]
            if json:
                counts = {"recordings": self.recordings[name], "recognised": self.recognised[name]}
                lines.append(to_json({"name": name, **counts, "other_files": other, "wrong": self.elsewhere[name]}))
            else:
                lines.append(
                    f"{name}: {self.recognised[name]} of {self.recordings[name]} recordings recognised, "
                    f"heard in {self.elsewhere[name]} of {other} other files"
                )
        return lines


def try_folder(captioner: Captioner, folder: Path, show: Callable[[str], None]) -> Trial:
    """Listen to all sound files in a folder and in those in it; `show` gets a line for each file.

    Raises DataError where no sound is taught, or the folder holds no sound file, AudioError for one that is damaged.
    """
    if captioner.matcher is None:
        raise DataError('no sound is taught for this model; type: edgecap teach "our doorbell" FILE…')
    names = {sound.identifier: sound.name for sound in captioner.matcher.sounds}
    try:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({reason_of(error)}); name a folder of sound files") from error
    if not files:
        raise DataError(f"{folder} holds no sound files; name a folder of recordings")
    recordings, recognised, elsewhere = Counter[str](), Counter[str](), Counter[str]()
    for path in files:
        matches = _heard(captioner, path)
        own = "" if path.parent == folder else names.get(identifier_of(path.parent.name), "")
        recordings[own] += bool(own)
        recognised[own] += own in matches
        for name in matches.keys() - {own}:
            elsewhere[name] += 1
        heard = ", ".join(f"{name} {match.confidence:.0%} at {match.start:.1f} s" for name, match in matches.items())
        show(f"{clean(str(path.relative_to(folder)))}: {heard or '-'}")
    for counts in (recordings, recognised):
        del counts[""]
    return Trial(recordings, recognised, elsewhere, len(files))


def _heard(captioner: Captioner, path: Path) -> dict[str, SoundMatch]:
    """The surest match of each sound in a file, its times from the file's beginning. Raises AudioError."""
    best = dict[str, SoundMatch]()
    try:
        for match in captioner.sounds_in_file(path):
            if match.name not in best or match.confidence > best[match.name].confidence:
                best[match.name] = match
    except AudioError as error:
        raise AudioError(f"{error}; what was heard before it is not counted") from error
    return best
