"""The candidates that run in PyTorch, eager, as they were published: teacher and student.

Both models are edgecap's own reading of the published ones, proved equal to the authors' in the tests. The student is
run as its authors run it: no cache, so that each step computes the whole prefix of every beam, and projects the
memory, again.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgecap.inference.decoding import beam_search
from edgecap.types import Waveform
from edgecap_bench.candidates.runner import NO_TOKEN, Runner, Size
from edgecap_bench.counting.macs import torch_multiply_adds
from edgecap_bench.counting.profile import OperatorTime
from edgecap_train.checkpoints.checkpoint import load_student
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student
from edgecap_train.teachers.htsat_bart import HtsatBart
from edgecap_train.teachers.htsat_checkpoint import load_htsat_bart
from edgecap_train.teachers.htsat_frontend import CLIP_SAMPLES, SAMPLE_RATE

CLIP_SECONDS = 10
"""Length of the published student's clips."""


def open_teacher(checkpoint: Path, threads: int) -> TeacherRunner:
    """Load a teacher in the WavCaps layout. Raises CheckpointError."""
    torch.set_num_threads(threads)
    return TeacherRunner(load_htsat_bart(checkpoint).teacher)


def open_reference(checkpoint: Path, threads: int) -> ReferenceRunner:
    """Load a student. Raises CheckpointError."""
    torch.set_num_threads(threads)
    return ReferenceRunner(load_student(checkpoint).student)


class TeacherRunner:
    """HTSAT-BART: BART's encoder over 1,024 positions, transformers' `generate` with its caches."""

    rate, length = SAMPLE_RATE, CLIP_SAMPLES

    def __init__(self, teacher: HtsatBart) -> None:
        """`teacher` in eval mode."""
        self._teacher = teacher

    @torch.inference_mode()
    def front_end(self, samples: Waveform) -> Tensor:
        """Log-mel in PyTorch, (1, 1, 1001, 64)."""
        return cast(Tensor, self._teacher.log_mel(torch.from_numpy(samples)[None]))

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        """HTSAT and BART's encoder, (1, 1024, 768)."""
        return self._teacher.memory(self._teacher.frames_of(features))

    def decode(self, encoded: Tensor, beam: int, tokens: int) -> None:
        """`generate` of as many tokens; the start token counts as one there."""
        self._teacher.search(encoded, beam=beam, least=tokens + 1, most=tokens + 1)

    def size(self, beam: int, tokens: int) -> Size:
        """Counted while it runs."""
        return _counted(self, self._teacher, beam, tokens)

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Nothing: ONNX Runtime does not run it."""
        return []


class ReferenceRunner:
    """The student as published."""

    def __init__(self, student: Student) -> None:
        """`student` in eval mode."""
        self._student = student
        front_end = student.config.front_end
        self._log_mel = LogMelLayer(front_end)
        self.rate = front_end.sample_rate
        self.length = CLIP_SECONDS * self.rate

    @torch.inference_mode()
    def front_end(self, samples: Waveform) -> Tensor:
        """Log-mel in PyTorch, (1, n_mels, T)."""
        return cast(Tensor, self._log_mel(torch.from_numpy(samples)[None]))

    @torch.inference_mode()
    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Memory and its length."""
        return self._student.encode(features), self._student.memory_length(torch.tensor([features.shape[2]]))

    def decode(self, encoded: tuple[Tensor, Tensor], beam: int, tokens: int) -> None:
        """The whole prefix of every beam at every step."""
        memory, length = encoded[0].expand(beam, -1, -1), encoded[1].expand(beam)
        prefix, steps = torch.zeros(beam, 0, dtype=torch.int64), tokens

        @torch.inference_mode()
        def step(tokens: NDArray[np.int64], position: int, parents: NDArray[np.int64]) -> NDArray[np.float32]:
            nonlocal prefix
            kept = prefix[torch.from_numpy(parents)] if position else prefix
            prefix = torch.cat([kept, torch.from_numpy(tokens)[:, None]], dim=1)
            logits = self._student.decoder(prefix, memory, length)
            log_probs: NDArray[np.float32] = torch.log_softmax(logits[:, -1], dim=-1).numpy()
            return log_probs

        beam_search(step, beam=beam, max_tokens=steps, start=SPECIALS.start, end=NO_TOKEN)

    def size(self, beam: int, tokens: int) -> Size:
        """Counted while it runs."""
        return _counted(self, self._student, beam, tokens)

    def profile(self, beam: int, tokens: int, threads: int) -> list[OperatorTime]:
        """Nothing: ONNX Runtime does not run it."""
        return []


def _counted(runner: Runner, module: nn.Module, beam: int, tokens: int) -> Size:
    features = runner.front_end(np.zeros(runner.length, np.float32))
    encoded = runner.encode(features)
    return Size(
        sum(parameter.numel() for parameter in module.parameters()),
        torch_multiply_adds(lambda: runner.encode(features)),
        torch_multiply_adds(lambda: runner.decode(encoded, beam, tokens)),
    )
