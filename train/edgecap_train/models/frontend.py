"""Log-mel front end in PyTorch: a batch of clips in, log-mel spectrograms out, on any device.

The same arithmetic and the same constants as `edgecap.audio.frontend`; a test holds the two together.
Every clip has its own reflection at its end, its own level and its own floor, independent of its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap.audio.frontend import LEAST_MEAN_POWER, FrontEnd, mel_bank


class LogMelLayer(nn.Module):
    """Samples to log-mel with the constants of a `FrontEnd`. Has buffers, no parameters."""

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        # PyTorch's own window, to its last bit: bins 100 dB below the clip's loudest show a difference of 1e-7
        spare = front_end.n_fft - front_end.win_length
        window = functional.pad(torch.hann_window(front_end.win_length), (spare // 2, spare - spare // 2))
        bank = torch.from_numpy(mel_bank(front_end).T.copy())
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bank", bank, persistent=False)
        self.window: Tensor
        self.bank: Tensor

    def frames(self, lengths: Tensor) -> Tensor:
        """Log-mel frames of clips of `lengths` (B,) samples."""
        return lengths // self.front_end.hop_length + 1

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-mel spectrograms.

        `samples` (B, n) float32 in [-1, 1], padded at the end with anything; `lengths` (B,) samples of each clip,
        more than n_fft // 2 (all n where None) → (B, n_mels, n // hop + 1). Frames after a clip's own last one
        hold the front end's silence.
        """
        constants = self.front_end
        if lengths is None:
            lengths = torch.full((samples.shape[0],), samples.shape[1], device=samples.device)
        lengths = lengths.to(samples.device)
        if int(lengths.min()) <= constants.n_fft // 2:
            raise ValueError(f"a clip needs more than {constants.n_fft // 2} samples, not {int(lengths.min())}")
        mel = self._mel(self._reflected(samples, lengths))
        valid = torch.arange(mel.shape[1], device=mel.device)[None, :] < self.frames(lengths)[:, None]
        return self._compressed(mel, valid[:, :, None]).transpose(1, 2)

    def _reflected(self, samples: Tensor, lengths: Tensor) -> Tensor:
        """Each clip with half a window reflected at both of its own ends: (B, n) → (B, n + n_fft)."""
        half = self.front_end.n_fft // 2
        place = torch.arange(-half, samples.shape[1] + half, device=samples.device).abs()[None, :]
        last = lengths[:, None] - 1
        source = torch.where(place > last, 2 * last - place, place)
        return samples.gather(1, source.clamp(min=0))

    def _mel(self, padded: Tensor) -> Tensor:
        """Mel energies: (B, n + n_fft) → (B, T, n_mels)."""
        constants = self.front_end
        frames = padded.unfold(1, constants.n_fft, constants.hop_length)
        spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
        energy = spectrum.square().sum(-1)
        if constants.power == 1:
            energy = energy.sqrt()
        return energy @ self.bank

    def _compressed(self, mel: Tensor, valid: Tensor) -> Tensor:
        """Logarithm with each clip's own level and floor, silence outside the clip: (B, T, n_mels) → the same."""
        constants = self.front_end
        if constants.compression == "decibel":
            mel = mel.clamp(min=constants.amin)
        if constants.clip_level is not None:
            mel = at_clip_level(mel, valid, valid.sum(1, keepdim=True), constants)
        if constants.compression == "log":
            compressed = torch.log(mel + constants.log_offset)
        else:
            compressed = 10.0 * torch.log10(mel)
            loudest = compressed.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True)
            compressed = compressed.maximum(loudest - constants.top_db)
        return compressed.masked_fill(~valid, constants.silence)


def at_clip_level(mel: Tensor, inside: Tensor | None, frames: Tensor, front_end: FrontEnd) -> Tensor:
    """Mel energies (B, …, …) of clips whose mean mel power is then the front end's `clip_level`, which it must have.

    `inside`: which frames are the clip's own (None where all others are zero), and `frames`: how many, both to be
    broadcast against `mel`.
    """
    if front_end.clip_level is None:
        raise ValueError("the front end has no clip_level")
    own = mel.float() if inside is None else torch.where(inside, mel, 0.0).float()
    power = own * own if front_end.power == 1 else own
    mean = power.sum(dim=(1, 2), keepdim=True) / (frames * front_end.n_mels)
    gain = front_end.clip_level - 10.0 * torch.log10(mean.clamp(min=LEAST_MEAN_POWER))
    return mel * 10.0 ** (gain * (0.05 if front_end.power == 1 else 0.1))
