"""Teachers for workers that are killed or have a full disk."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from signal import SIGKILL

from edgecap.types import Waveform
from edgecap_train.teachers.teacher import ConsensusTeacher


def load_killed_once(tagger: Path, captions: Path, place: Path) -> ConsensusTeacher:
    """A teacher whose process is killed when it captions its second window, the first time."""
    teacher = ConsensusTeacher.load(tagger, captions)
    caption, windows = teacher.captions, list[int]()

    def killed(samples: Waveform, *, most: int = 1) -> tuple[str, ...]:
        windows.append(samples.size)
        if len(windows) == 2 and not (place / "killed").exists():
            (place / "killed").touch()
            os.kill(os.getpid(), SIGKILL)
        return caption(samples, most=most)

    teacher.captions = killed  # type: ignore[method-assign]
    return teacher


def load_on_full_disk(tagger: Path, captions: Path) -> ConsensusTeacher:
    """A teacher in a process whose files may have 2 kB."""
    teacher = ConsensusTeacher.load(tagger, captions)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return teacher
