"""What the study's captions are judged on, by three measures, none of which any run has learnt from.

"judged": composed scenes of ESC-50's fifth fold, CIDEr-D with the captions they were composed for. "recordings": real
recordings with human captions, each source of the table a set of its own, since CIDEr-D compares only within a set.
"tagged": sets of sounds without captions; a caption is right where it names the class that the tagger scores highest
(`edgecap_train.evaluation.tag_agreement`), which flatters rows that learn from the tagger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgecap.audio.file import decode
from edgecap.errors import AudioError, ConfigError, TableError, TrainingDataError
from edgecap.util.files import to_json, write_atomically
from edgecap.util.progress import Progress
from edgecap_train.data.pool import SAMPLE_RATE, read_manifest
from edgecap_train.evaluation.evaluated import first_windows
from edgecap_train.evaluation.held_out import Reference, by_source
from edgecap_train.evaluation.metrics import LEAST_CLIPS
from edgecap_train.evaluation.tag_agreement import drawn_clips
from edgecap_train.study.data import StudyScene, StudySources, shard_folder, write_scenes
from edgecap_train.text.tokenizer import tokenize

Measure = Literal["judged", "recordings", "tagged"]
MEASURES: dict[Measure, str] = {
    "judged": "held-out scenes",
    "recordings": "real recordings",
    "tagged": "held-out sets, tagger's class named",
}
"""Measure → title; CIDEr-D but for the last, which is a share."""
RECORDING_SECONDS = 10.0
"""Captions are of the first so many seconds."""
LEAST_RECORDINGS = 10
"""A data set with a smaller part is judged as one: CIDEr-D of so few says little."""
SETS_FILE = "evaluation.json"


@dataclass(frozen=True)
class EvaluationSet:
    """Clips that captions are scored on together."""

    measure: Measure
    name: str
    folder: str
    """Of its shards, below the study's folder."""


@dataclass(frozen=True)
class HeldOut:
    """Sets of pools that no run may learn from."""

    pools: tuple[Path, ...] = ()
    sets: tuple[str, ...] = ()
    most: int = 60
    """Clips of each set, drawn the same each time."""

    def files(self) -> dict[str, list[Path]]:
        """The drawn clips of each set. Raises TableError for a set that no pool has."""
        rows = [(pool / row["file"], row["set"]) for pool in self.pools for row in read_manifest(pool)]
        there = {name for _, name in rows}
        if unknown := sorted(set(self.sets) - there):
            raise TableError(f"no pool has a set {unknown[0]!r}; there are {', '.join(sorted(there)) or 'none'}")
        chosen = drawn_clips([row for row in rows if row[1] in self.sets], self.most)
        return {name: [file for file, of in chosen if of == name] for name in self.sets}


def prepare_evaluation(
    sources: StudySources, out: Path, references: Sequence[Reference], held_out: HeldOut, *, progress: Progress
) -> None:
    """Write the shards of the recordings and of the held-out sets, and the list of all sets.

    A source or a set with fewer clips that can be read than a score needs is left out.
    """
    places = sources_of(references)
    recordings = [EvaluationSet("recordings", name, f"recordings/{number:02d}") for number, name in enumerate(places)]
    tagged = [EvaluationSet("tagged", name, f"tagged/{number:02d}") for number, name in enumerate(held_out.sets)]
    kept = [EvaluationSet("judged", "ESC-50, fifth fold", "judged")]
    files = held_out.files()
    for done, one in enumerate((*recordings, *tagged)):
        progress(done, len(recordings) + len(tagged), one.name)
        if one.measure == "recordings":
            scenes = _recordings([references[place] for place in places[one.name]])
        else:
            scenes = _sounds(files[one.name])
        if len(scenes) < LEAST_CLIPS:
            continue
        folder = shard_folder(out, one.folder, 0)
        write_scenes(sources, folder, iter(scenes), RECORDING_SECONDS, captioned=False)
        kept.append(one)
    write_atomically(out / SETS_FILE, to_json([asdict(one) for one in kept]))


def sources_of(references: Sequence[Reference]) -> dict[str, list[int]]:
    """The places of the recordings that are judged together, by the name of their source."""
    places = by_source(references)
    small = {references[of[0]].group for of in places.values() if len(of) < LEAST_RECORDINGS}
    joined: dict[str, list[int]] = {}
    for name, of in places.items():
        group = references[of[0]].group
        joined.setdefault(group if group and group in small else name, []).extend(of)
    return joined


def read_sets(out: Path) -> list[EvaluationSet]:
    """The evaluation sets of a prepared study. Raises TrainingDataError where it is not prepared."""
    path = out / SETS_FILE
    if not path.is_file():
        raise TrainingDataError(f"{out} is not prepared: it has no {SETS_FILE}; run edgecap train study on it again")
    return [EvaluationSet(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def same_arguments(out: Path, arguments: dict[str, object]) -> None:
    """Write down what data are made of, or check that a folder was made of the same: results must not mix.

    Raises ConfigError where it was not.
    """
    path = out / "made-of.json"
    digests = {name: hashlib.sha256(to_json(value).encode()).hexdigest()[:12] for name, value in arguments.items()}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = sorted(name for name in before.keys() | digests.keys() if before.get(name) != digests.get(name))
        if differing:
            raise ConfigError(f"the data in {out} were made with other {differing[0]}; name another folder with --out")
        return
    if (out / "judged").is_dir():
        raise ConfigError(f"the data in {out} were made by an earlier edgecap; name another folder with --out")
    write_atomically(path, to_json(digests))


def _recordings(references: Sequence[Reference]) -> list[StudyScene]:
    readable, sounds = first_windows(references, SAMPLE_RATE)
    return [
        StudyScene(samples, [tokenize(text) for text in reference.captions])
        for reference, samples in zip(readable, sounds, strict=True)
    ]


def _sounds(files: Sequence[Path]) -> list[StudyScene]:
    """The first window of each file that can be read, one second long at least."""
    scenes = []
    for file in files:
        try:
            samples = decode(file, SAMPLE_RATE, RECORDING_SECONDS)
        except AudioError:
            continue
        scenes.append(StudyScene(np.pad(samples, (0, max(0, SAMPLE_RATE - samples.size))), []))
    return scenes
