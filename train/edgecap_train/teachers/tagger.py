"""The AudioSet tagger that teaches: EfficientAT mn04_as, 983,599 parameters, AudioSet mAP 0.432.

Schmid, Koutini, Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
distillation" (ICASSP 2023); weights under MIT. It only teaches: nothing that edgecap ships starts
from its weights. It has seen the tags of AudioCaps' clips, as every AudioSet-pretrained model has.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap.errors import CheckpointError
from edgecap_train.checkpoints.checkpoint import read_tensors

SAMPLE_RATE = 32_000
N_FFT, WINDOW, HOP, N_MELS, F_MAX = 1024, 800, 320, 128, 15_000.0

# kernel, expanded, out, squeeze-excite, hard-swish (else ReLU), stride
BLOCKS = (
    (3, 8, 8, False, False, 1),
    (3, 24, 16, False, False, 2),
    (3, 32, 16, False, False, 1),
    (5, 32, 16, True, False, 2),
    (5, 48, 16, True, False, 1),
    (5, 48, 16, True, False, 1),
    (3, 96, 32, False, True, 2),
    (3, 80, 32, False, True, 1),
    (3, 72, 32, False, True, 1),
    (3, 72, 32, False, True, 1),
    (3, 192, 48, True, True, 1),
    (3, 272, 48, True, True, 1),
    (5, 272, 64, True, True, 2),
    (5, 384, 64, True, True, 1),
    (5, 384, 64, True, True, 1),
)


@dataclass(frozen=True)
class Tags:
    """The tagger's output for a batch of clips."""

    logits: Tensor
    """(B, 527), before the sigmoid."""
    frames: Tensor
    """(B, T / 32, 384): the last feature map averaged over frequency, about 0.32 s a frame."""

    @property
    def embedding(self) -> Tensor:
        """(B, 384): mean of the frames."""
        return self.frames.mean(1)


class TaggerSqueezeExcite(nn.Module):
    """Channel gate from the mean over frequency and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, int(channels / 4 + 4) // 8 * 8)
        if hidden < 0.9 * channels / 4:
            hidden += 8
        self.reduce, self.expand = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) → the same shape, scaled."""
        gate = torch.sigmoid(self.expand(torch.relu(self.reduce(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


def _unit(  # noqa: PLR0917
    channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, act: nn.Module | None
) -> nn.Module:
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(channels_out, eps=1e-3)]
    return nn.Sequential(*layers, act) if act else nn.Sequential(*layers)


class _Block(nn.Module):
    """Inverted residual of MobileNetV3."""

    def __init__(self, channels: int, spec: tuple[int, int, int, bool, bool, int]) -> None:
        super().__init__()
        kernel, expanded, out, squeeze, hard, stride = spec
        act: nn.Module = nn.Hardswish() if hard else nn.ReLU()
        layers = [_unit(channels, expanded, 1, 1, 1, act)] if expanded != channels else []
        layers.append(_unit(expanded, expanded, kernel, stride, expanded, act))
        if squeeze:
            layers.append(TaggerSqueezeExcite(expanded))
        layers.append(_unit(expanded, out, 1, 1, 1, None))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Tagger(nn.Module):
    """32 kHz samples to AudioSet logits and frame embeddings."""

    window: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(1, 8, 3, 2, 1, nn.Hardswish())
        blocks, channels = [], 8
        for spec in BLOCKS:
            blocks.append(_Block(channels, spec))
            channels = spec[2]
        self.blocks = nn.Sequential(*blocks)
        self.top = _unit(channels, 384, 1, 1, 1, nn.Hardswish())
        self.head = nn.Sequential(nn.Linear(384, 512), nn.Hardswish(), nn.Linear(512, 527))
        left = (N_FFT - WINDOW) // 2
        window = functional.pad(torch.hann_window(WINDOW, periodic=False), (left, N_FFT - WINDOW - left))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("bank", torch.from_numpy(kaldi_mel_bank()).float(), persistent=False)

    def log_mel(self, samples: Tensor) -> Tensor:
        """`samples` (B, n) at 32 kHz → (B, 128, T), pre-emphasised and normalised as the weights expect."""
        emphasised = samples[:, 1:] - 0.97 * samples[:, :-1]
        spectrum = torch.stft(emphasised, N_FFT, HOP, window=self.window, center=True, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return (torch.log(self.bank @ power + 1e-5) + 4.5) / 5.0

    def forward(self, samples: Tensor) -> Tags:
        """`samples` (B, n) float32 in [-1, 1] at 32 kHz → `Tags`."""
        maps = self.top(self.blocks(self.stem(self.log_mel(samples).unsqueeze(1))))
        return Tags(self.head(maps.mean((2, 3))), maps.mean(2).transpose(1, 2))


def kaldi_mel_bank() -> np.ndarray:
    """Kaldi's triangles, (128, 513): straight over 1127 ln(1 + f/700), 0 to 15 kHz, the last bin zero."""
    mel = 1127.0 * np.log(1.0 + np.arange(N_FFT // 2) * (SAMPLE_RATE / N_FFT) / 700.0)
    top = 1127.0 * np.log(1.0 + F_MAX / 700.0)
    width = top / (N_MELS + 1)
    left = np.arange(N_MELS)[:, None] * width
    rising, falling = (mel - left) / width, (left + 2 * width - mel) / width
    return np.pad(np.maximum(0.0, np.minimum(rising, falling)), ((0, 0), (0, 1)))


def load_tagger(folder: Path) -> Tagger:
    """The pretrained tagger from a folder that holds `mn04_as_mAP_432.pt`.

    Raises CheckpointError where there is none, or a tensor is missing or of another shape.
    """
    tagger = Tagger()
    path = folder / "mn04_as_mAP_432.pt"
    if not path.is_file():
        raise CheckpointError(f"{folder} does not hold {path.name}; name the tagger's folder with --tagger")
    source = read_tensors(path)
    # Both list their tensors in the order data meets them, so position pairs them and shape checks the pair.
    ours = tagger.state_dict()
    if len(ours) != len(source):
        raise CheckpointError(f"{path.name} has {len(source)} tensors where the tagger has {len(ours)}")
    for (name, tensor), (theirs, value) in zip(ours.items(), source.items(), strict=True):
        if tensor.shape != value.shape:
            raise CheckpointError(
                f"{path.name}: {theirs} has shape {tuple(value.shape)}, {name} needs {tuple(tensor.shape)}"
            )
    tagger.load_state_dict(dict(zip(ours, source.values(), strict=True)))
    return tagger.eval()


def class_names(folder: Path) -> list[str]:
    """The 527 display names of AudioSet's classes, in output order. Raises CheckpointError."""
    path = folder / "class_labels_indices.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row["display_name"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as AudioSet's classes ({error}); name the tagger's folder with --tagger"
        ) from error
