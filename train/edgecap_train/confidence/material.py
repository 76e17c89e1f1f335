"""What a probability is fitted to: captions of recordings, of held-out sets and of faults, and whether each is right.

Of a recording people's captions tell, of a held-out set the tagger, and of a generated fault that no source is right.
Recordings and sets are heard as they are and degraded, since what a model does not notice itself is damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from edgecap import Captioner
from edgecap.audio.file import decode
from edgecap.audio.frontend import log_mel
from edgecap.audio.samples import loudest_level
from edgecap.caption import Beam
from edgecap.errors import AudioError, TableError
from edgecap.types import Waveform
from edgecap.util.progress import Progress
from edgecap_train.confidence.judging import NAMES, judged_by_people, judged_by_tagger
from edgecap_train.data.pool import read_manifest
from edgecap_train.evaluation.conditions import CONDITIONS
from edgecap_train.evaluation.evaluated import WINDOW_SECONDS
from edgecap_train.evaluation.fault_signals import fault_signals
from edgecap_train.evaluation.held_out import Reference
from edgecap_train.teachers.tagger import class_names, load_tagger
from edgecap_train.teachers.teacher import TaggingTeacher
from edgecap_train.text.main_source import named_sources

SIGNALS_EACH = 40
"""Generated faults of each kind."""
PLAIN = "as recorded"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """One sound that was captioned."""

    clip: str
    """What it was made from: the same for all degradations of a recording."""
    side: str
    """Source of the recording, or name of the held-out set; empty for faults."""
    condition: str
    """Name of the degradation, or `PLAIN`; of a fault its kind."""
    embedding: Floats
    """(embedding_dim,)."""
    beams: tuple[Beam, ...]
    right: bool | None
    """Whether the caption names the main source; None where whoever judges does not know."""
    broad: bool | None
    """Whether the group of the source that it names first is heard."""
    scores: Floats | None = None
    """The tagger's of each source, (sources,), in the recording as it is; None of faults."""
    people: bool = False
    """Whether people's captions have told what is right, and not the tagger's scores."""
    fault: bool = False


class BeamCaptioner:
    """Captions sounds with one bundle, and keeps what a probability is computed from."""

    def __init__(self, captioner: Captioner, beam: int | None = None) -> None:
        self._captioner, self._beam = captioner, beam
        self.rate = captioner.manifest.front_end.sample_rate
        """Samples per second that it takes."""

    def __call__(self, samples: Waveform) -> tuple[Floats, tuple[Beam, ...]] | None:
        """Clip embedding and beams of samples (n,); None for silence."""
        captioner, manifest = self._captioner, self._captioner.manifest
        if loudest_level(samples, self.rate) < manifest.silence.threshold_dbfs:
            return None
        shortest = round(captioner.shortest * self.rate)
        encoded = captioner.encode(log_mel(np.pad(samples, (0, max(0, shortest - samples.size))), manifest.front_end))
        return encoded.clip_embedding, captioner.decode(encoded, self._beam)


class SourceTagger:
    """The tagger's scores of the sources that captions name."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError without the tagger."""
        self._teacher = TaggingTeacher(load_tagger(folder))
        named = [named_sources(name) for name in class_names(folder)]
        self._columns = [[column for column, sources in enumerate(named) if source in sources] for source in NAMES]

    def __call__(self, file: Path) -> Floats:
        """Scores (sources,) of a sound's first window. Raises AudioError."""
        wide = decode(file, self._teacher.sample_rate, WINDOW_SECONDS)
        tags = 1.0 / (1.0 + np.exp(-self._teacher.tags(wide).logits[0].cpu().numpy()))
        return np.array([tags[column].max() if column else 0.0 for column in self._columns], np.float32)


def heard_recordings(
    listen: BeamCaptioner, references: Sequence[Reference], tagger: SourceTagger, progress: Progress
) -> list[Heard]:
    """Recordings with captions, as they are and under every condition. One that cannot be read is left out."""
    rows = []
    for done, reference in enumerate(references):
        progress(done, len(references), "recordings")
        try:
            samples, scores = decode(reference.file, listen.rate, WINDOW_SECONDS), tagger(reference.file)
        except AudioError:
            continue
        judge = judged_by_people(reference.captions)
        side = " ".join(part for part in (reference.group, reference.split) if part)
        seed = crc32(reference.file.name.encode())
        sounds = [(PLAIN, samples)]
        sounds += [(one.name, one.degrade(samples, listen.rate, np.random.default_rng(seed))) for one in CONDITIONS]
        for condition, sound in sounds:
            if (answer := listen(sound)) is not None:
                right, broad = judge(answer[1][0].text)
                rows.append(Heard(str(reference.file), side, condition, *answer, right, broad, scores, people=True))
    progress(len(references), len(references))
    return rows


def heard_sets(
    listen: BeamCaptioner,
    pools: Sequence[Path],
    held_out: Sequence[str],
    tagger: SourceTagger,
    progress: Progress,
    *,
    most: int,
) -> list[Heard]:
    """At most `most` clips of each held-out set of the pools, as they are and each under one condition.

    Raises TableError for a set that no pool has.
    """
    listed = [(pool / row["file"], row["set"]) for pool in pools for row in read_manifest(pool)]
    if unknown := sorted(set(held_out) - {name for _, name in listed}):
        raise TableError(f"no pool has a set {unknown[0]!r}; there are {', '.join(sorted({n for _, n in listed}))}")
    chosen = []
    for name in sorted(set(held_out)):
        files = [file for file, of in listed if of == name]
        chosen += [(files[place], name) for place in sorted(np.random.default_rng(0).permutation(len(files))[:most])]
    rows = []
    for done, (file, side) in enumerate(chosen):
        progress(done, len(chosen), "held-out sets")
        try:
            samples, scores = decode(file, listen.rate, WINDOW_SECONDS), tagger(file)
        except AudioError:
            continue
        judge, condition = judged_by_tagger(scores), CONDITIONS[done % len(CONDITIONS)]
        degraded = condition.degrade(samples, listen.rate, np.random.default_rng(done))
        for name, sound in ((PLAIN, samples), (condition.name, degraded)):
            if (answer := listen(sound)) is not None:
                right, broad = judge(answer[1][0].text)
                rows.append(Heard(str(file), side, name, *answer, right, broad, scores))
    progress(len(chosen), len(chosen))
    return rows


def heard_faults(listen: BeamCaptioner, progress: Progress, *, each: int = SIGNALS_EACH, seed: int = 0) -> list[Heard]:
    """Generated noise and faults: nothing that a caption names is right. What counts as silence is left out."""
    signals, rows = fault_signals(listen.rate, each, seed=seed), []
    for done, signal in enumerate(signals):
        progress(done, len(signals), "noise and faults")
        if (answer := listen(signal.samples)) is not None:
            rows.append(Heard(f"fault {seed} {done}", "", signal.kind, *answer, False, False, fault=True))
    progress(len(signals), len(signals))
    return rows
