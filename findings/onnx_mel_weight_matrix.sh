#!/usr/bin/env bash
# ONNX's MelWeightMatrix rounds its bands to whole FFT bins: some neighbours are equal, and low ones lie too low.
#
# Expected: MelWeightMatrix(64 bands, 400 points, 16 kHz, 0 to 8 kHz) gives the filters of HTK, torchaudio (norm=None)
# or librosa (htk=True, norm=None): its documentation names HTK's formula and triangles of height 1.
# Instead: the edges of the triangles are rounded down to bins, and a triangle without width becomes one bin of weight
# 1. With 80 bands five pairs of neighbours are exactly the same column, with 128 bands of 1024 points at 32 kHz six
# pairs; the first band is the constant part (bin 0) that HTK's first band excludes; the low bands lie up to a bin
# lower. On white noise the energies differ by 2 dB (64 bands) to 6 dB (80 and 128). The graph is valid, and nothing
# warns. ONNX Runtime and ONNX's reference implementation agree to the last bit, so it is the operator's definition,
# not a fault.
# Seen: onnx 1.23.2, onnxruntime 1.32.0, Linux x86-64.
# edgecap puts its mel filters into the graph as a constant. So should every model that was trained with other
# filters.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")


def operator_bank(bands: int, points: int, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """MelWeightMatrix as ONNX Runtime and as the reference implementation compute it, (points // 2 + 1, bands)."""
    values = {
        "bands": np.int64(bands),
        "points": np.int64(points),
        "rate": np.int64(rate),
        "low": np.float32(0),
        "high": np.float32(rate / 2),
    }
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    output = helper.make_tensor_value_info("bank", TensorProto.FLOAT, [points // 2 + 1, bands])
    node = helper.make_node("MelWeightMatrix", list(values), ["bank"])
    graph = helper.make_graph([node], "mel", [], [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {})[0], ReferenceEvaluator(model).run(None, {})[0]


def htk_bank(bands: int, points: int, rate: int) -> np.ndarray:
    """Triangles of height 1 between unrounded edges, evenly spaced on HTK's mel scale."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.arange(points // 2 + 1)[:, None] * rate / points
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


pairs = {}
for bands, points, rate in ((64, 400, 16_000), (80, 400, 16_000), (128, 1024, 32_000)):
    bank, reference = operator_bank(bands, points, rate)
    expected = htk_bank(bands, points, rate)
    same = [band for band in range(bands - 1) if np.array_equal(bank[:, band], bank[:, band + 1])]
    same_expected = [band for band in range(bands - 1) if np.array_equal(expected[:, band], expected[:, band + 1])]
    difference = 10 * np.log10(bank.sum(axis=0) / expected.sum(axis=0))  # of the energies of white noise
    peaks = bank.argmax(axis=0)[:6].tolist(), expected.argmax(axis=0)[:6].tolist()
    pairs[bands] = len(same)
    print(f"{bands} bands of {points} points at {rate} Hz:")
    print(f"  equal to the next band: {same} (HTK: {same_expected})")
    print(f"  highest bin of bands 0 to 5: {peaks[0]} (HTK: {peaks[1]})")
    print(f"  white noise: {difference.min():+.1f} to {difference.max():+.1f} dB against HTK")
    if not np.array_equal(bank, reference):
        sys.exit("CHANGED: ONNX Runtime and the reference implementation differ")
    if not same or same_expected or peaks[0][0] != 0 or np.abs(difference).max() < 2:
        sys.exit("CHANGED: the operator gives other filters")
print("as described: neighbouring bands are equal, and the first one is bin 0")
PYTHON
