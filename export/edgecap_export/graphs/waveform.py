"""The front end as part of a graph: samples in, log-mel out, in operators that every runtime has.

The same arithmetic as `edgecap.audio.frontend`, with the Fourier transform as two steps of small products
(`edgecap.audio.two_step_transform`): runtimes lack a transform (LiteRT's converter) or have a slow one (ONNX Runtime).
Only the bins are computed that a mel band uses, from the samples where the window is not zero. Everything is float32,
and so is a device's own front end; where a value lies far below the loudest of its frame, the last bits of either show.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd, hann_window, mel_bank
from edgecap.audio.two_step_transform import cheapest
from edgecap.bundle.manifest import EncoderInput
from edgecap_export.graphs.onnx_export import ENCODE_INPUTS, EncodeGraph, example_encode_inputs
from edgecap_train.models.frontend import at_clip_level
from edgecap_train.models.student import Student

WAVEFORM_INPUTS = ("waveform", "samples", "memory_length")
_LOWEST = -1e30
"""Below every logarithm: the value of frames behind the clip in the search for the clip's maximum."""


class GraphFrontEnd(nn.Module):
    """Samples of one clip to the log-mel of a whole window.

    Frames lie along the last axis of every array, as in `edgecap.audio.mel_products`. A frame begins with the first
    sample that the window does not make zero, which no bin's energy shows.
    """

    def __init__(self, front_end: FrontEnd, window_frames: int) -> None:
        super().__init__()
        self.front_end, self.frames = front_end, window_frames
        self.size = window_frames * front_end.hop_length
        hop, n_fft = front_end.hop_length, front_end.n_fft
        window, bank = hann_window(front_end.win_length, n_fft), mel_bank(front_end)
        weighted, used = np.flatnonzero(window), np.flatnonzero(bank.any(axis=0))
        transform = cheapest(n_fft, math.gcd(n_fft, hop))  # so that hops are whole rows of q
        self.fine, self.slots, self.rows = transform.fine, transform.slots, transform.rows(used)
        first = int(weighted[0])
        self.coarse = -(-(int(weighted[-1]) + 1 - first) // self.fine)
        self.before, self.behind = n_fft // 2 - first, first + self.coarse * self.fine - n_fft // 2
        span = self.coarse * self.fine
        own = np.zeros(span)
        own[: n_fft - first] = window[first : first + span]
        second = transform.second(used).reshape(self.slots, 2 * self.rows, -1)
        bank = transform.placed(bank, used).transpose(0, 2, 1).reshape(len(bank), -1)
        for name, array in (
            ("window", own.reshape(self.coarse, self.fine, 1)),
            ("first", transform.first(0, self.coarse)),
            ("second", second),
            ("bank", bank),
            ("reflection", np.arange(max(self.behind, 1))),
            ("begin", np.arange(window_frames)[None, None, :] * hop),
        ):
            kind = np.int64 if name == "reflection" else np.float32
            # ExecuTorch's delegate knows factors by being stored
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, kind)))
        self.window: Tensor
        self.first: Tensor
        self.second: Tensor
        self.bank: Tensor
        self.reflection: Tensor
        self.begin: Tensor

    def forward(self, waveform: Tensor, samples: Tensor) -> Tensor:
        """`waveform` (1, window_frames · hop_length), of which the first `samples` (1,) int64 are the clip's own.

        → log-mel (1, n_mels, window_frames) as a device's front end makes it: the clip reflected at both of its own
        ends, with its own floor, and silence behind it.
        """
        constants = self.front_end
        energy = self._energy(self._frames(waveform, samples))
        if constants.power == 1:
            energy = energy.sqrt()
        mel = (self.bank @ energy.reshape(-1, self.frames))[None]
        own = samples.to(waveform.dtype)
        inside = self.begin <= own
        frames = torch.floor(own / constants.hop_length) + 1.0
        if constants.compression == "log":  # whose silence is the logarithm of nothing
            mel = mel * inside.to(mel.dtype)
            if constants.clip_level is not None:
                mel = at_clip_level(mel, None, frames, constants)
            return torch.log(mel + constants.log_offset)
        mel = mel.clamp(min=constants.amin)
        if constants.clip_level is not None:
            mel = at_clip_level(mel, inside, frames, constants)
        compressed = 10.0 * torch.log10(mel)
        loudest = torch.where(inside, compressed, _LOWEST).amax(dim=(1, 2), keepdim=True)
        return torch.where(inside, torch.maximum(compressed, loudest - constants.top_db), constants.silence)

    def _frames(self, waveform: Tensor, samples: Tensor) -> Tensor:
        """The frames' samples, those of a frame by p and q: (p, Q, window_frames)."""
        hop, shifts = self.front_end.hop_length, -(-self.coarse * self.fine // self.front_end.hop_length)
        hop_count = max(self.frames - 1 + shifts, -(-(self.before + self.size + self.behind) // hop))
        beyond = waveform.new_zeros(1, hop_count * hop - self.before - self.size)
        padded = torch.cat([waveform[:, 1 : self.before + 1].flip(1), waveform, beyond], dim=1)
        end = samples.clamp(min=self.behind + 1, max=self.size)
        back = waveform.gather(1, (end - 2 - self.reflection)[None])
        padded = self.written(padded, back, end + self.before)
        hops, size = padded.reshape(hop_count, hop).t(), self.coarse * self.fine
        parts = [hops[: min(hop, size - shift * hop), shift : shift + self.frames] for shift in range(shifts)]
        return torch.cat(parts).reshape(self.coarse, self.fine, self.frames)

    def written(self, samples: Tensor, part: Tensor, place: Tensor) -> Tensor:
        """`samples` (1, n) with `part` (1, behind) from `place` (1,) int64 on."""
        return torch.scatter(samples, 1, (place + self.reflection)[None], part)

    def _energy(self, frames: Tensor) -> Tensor:
        """Squares of the magnitudes of all bins: (slots, rows, window_frames)."""
        sums = self.first @ (frames * self.window).reshape(self.coarse, -1)
        real, imaginary = (self.second @ sums.reshape(self.slots, -1, self.frames)).chunk(2, dim=1)
        return real * real + imaginary * imaginary


class WaveformEncodeGraph(nn.Module):
    """`edgecap_export.graphs.onnx_export.EncodeGraph` with the front end before it."""

    def __init__(self, student: Student, front_end: GraphFrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.encode = EncodeGraph(student)

    def forward(self, waveform: Tensor, samples: Tensor, memory_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs in the order of WAVEFORM_INPUTS → as `EncodeGraph` gives."""
        keys, values, embedding = self.encode(self.front_end(waveform, samples), memory_length)
        return keys, values, embedding


def example_waveform_inputs(student: Student, window_frames: int) -> tuple[Tensor, ...]:
    """A silent window, in the order of WAVEFORM_INPUTS."""
    size = window_frames * student.config.front_end.hop_length
    return torch.zeros(1, size), torch.tensor([size]), student.memory_length(torch.tensor([window_frames]))


def encoder_graph(
    student: Student, window_frames: int, encoder_input: EncoderInput, front_end: type[GraphFrontEnd] = GraphFrontEnd
) -> tuple[nn.Module, tuple[str, ...], tuple[Tensor, ...]]:
    """The encoder that takes a log-mel or a waveform, the names of its inputs, and an example of them."""
    if encoder_input == "log_mel":
        return EncodeGraph(student), ENCODE_INPUTS, example_encode_inputs(student, window_frames)
    graph = WaveformEncodeGraph(student, front_end(student.config.front_end, window_frames))
    return graph, WAVEFORM_INPUTS, example_waveform_inputs(student, window_frames)
