"""The front end as part of a graph: samples in, log-mel out, in operators that every runtime has.

The same arithmetic as `edgecap.audio.frontend`, with the Fourier transform as one product with a matrix: runtimes
lack a transform (LiteRT's converter) or have a slow one (ONNX Runtime). Of the matrix only the bins are kept that a
mel band uses, and only the rows where the window is not zero. Everything is float32, and so is a device's own front
end; where a value lies far below the loudest of its frame, the last bits of either show.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd, hann_window, mel_bank
from edgecap.bundle.manifest import EncoderInput
from edgecap_export.graphs.onnx_export import ENCODE_INPUTS, EncodeGraph, example_encode_inputs
from edgecap_train.models.frontend import at_clip_level
from edgecap_train.models.student import Student

WAVEFORM_INPUTS = ("waveform", "samples", "memory_length")
_LOWEST = -1e30
"""Below every logarithm: the value of frames behind the clip in the search for the clip's maximum."""


class GraphFrontEnd(nn.Module):
    """Samples of one clip to the log-mel of a whole window."""

    def __init__(self, front_end: FrontEnd, window_frames: int) -> None:
        super().__init__()
        self.front_end, self.frames = front_end, window_frames
        self.size = window_frames * front_end.hop_length
        hop, n_fft = front_end.hop_length, front_end.n_fft
        window = hann_window(front_end.win_length, n_fft)
        weighted, bank = np.flatnonzero(window), mel_bank(front_end)
        bins = np.flatnonzero(bank.any(axis=0))
        self.first, self.last = int(weighted[0]), int(weighted[-1]) + 1
        turns = (np.arange(self.first, self.last)[:, None] * np.arange(bins[0], bins[-1] + 1)) % n_fft
        angles = 2.0 * np.pi * turns / n_fft
        fourier = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * window[self.first : self.last, None]
        rows = window_frames - 1 + -(-n_fft // hop)
        for name, array in (
            ("fourier", fourier),
            ("bank", bank[:, bins[0] : bins[-1] + 1].T),
            ("row", np.arange(rows)[:, None] * hop - n_fft // 2),
            ("column", np.arange(hop)[None, :]),
            ("begin", np.arange(window_frames)[None, None, :] * hop),
        ):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array, np.float32)), persistent=False)
        self.fourier: Tensor
        self.bank: Tensor
        self.row: Tensor
        self.column: Tensor
        self.begin: Tensor

    def forward(self, waveform: Tensor, samples: Tensor) -> Tensor:
        """`waveform` (1, window_frames · hop_length), of which the first `samples` (1,) int64 are the clip's own.

        → log-mel (1, n_mels, window_frames) as a device's front end makes it: the clip reflected at both of its own
        ends, with its own floor, and silence behind it.
        """
        constants = self.front_end
        own = samples.to(waveform.dtype)
        spectrum = self._frames(waveform, own) @ self.fourier.to(waveform.dtype)
        real, imaginary = spectrum.chunk(2, dim=1)
        energy = real * real + imaginary * imaginary
        if constants.power == 1:
            energy = energy.sqrt()
        mel = (energy @ self.bank.to(waveform.dtype)).transpose(0, 1)[None]
        inside = self.begin.to(waveform.dtype) <= own
        if constants.compression == "decibel":
            mel = mel.clamp(min=constants.amin)
        if constants.clip_level is not None:
            mel = at_clip_level(mel, inside, torch.floor(own / constants.hop_length) + 1.0, constants)
        if constants.compression == "log":
            compressed = torch.log(mel + constants.log_offset)
        else:
            compressed = 10.0 * torch.log10(mel)
            loudest = torch.where(inside, compressed, _LOWEST).amax(dim=(1, 2), keepdim=True)
            compressed = torch.maximum(compressed, loudest - constants.top_db)
        return torch.where(inside, compressed, constants.silence)

    def _frames(self, waveform: Tensor, own: Tensor) -> Tensor:
        """The frames' samples where the window is not zero: (window_frames, last - first).

        The place of every sample is computed in floating point, exact up to 2**24, because that is what runs
        everywhere: behind its last sample a clip goes back the way it came, and so it does before its first.
        """
        end = own - 1.0
        source = (end - ((self.row.to(own.dtype) - end) + self.column.to(own.dtype)).abs()).abs()
        source = source.clamp(max=self.size - 1.0)
        hops = waveform[0][source.to(torch.int64)]
        shifts = range(-(-self.front_end.n_fft // self.front_end.hop_length))
        return torch.cat([hops[shift : shift + self.frames] for shift in shifts], dim=1)[:, self.first : self.last]


class WaveformEncodeGraph(nn.Module):
    """`edgecap_export.graphs.onnx_export.EncodeGraph` with the front end before it."""

    def __init__(self, student: Student, window_frames: int) -> None:
        super().__init__()
        self.front_end = GraphFrontEnd(student.config.front_end, window_frames)
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
    student: Student, window_frames: int, encoder_input: EncoderInput
) -> tuple[nn.Module, tuple[str, ...], tuple[Tensor, ...]]:
    """The encoder that takes a log-mel or a waveform, the names of its inputs, and an example of them."""
    if encoder_input == "log_mel":
        return EncodeGraph(student), ENCODE_INPUTS, example_encode_inputs(student, window_frames)
    graph = WaveformEncodeGraph(student, window_frames)
    return graph, WAVEFORM_INPUTS, example_waveform_inputs(student, window_frames)
