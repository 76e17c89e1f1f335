#!/usr/bin/env bash
# PyAV finds nine planes in a planar audio frame of eight channels; whoever reads the ninth ends the process.
#
# Expected: a planar frame ("fltp", "s16p", ...) has a plane for each channel, so a frame of 7.1 has eight.
# Instead: the planes are counted up to the first pointer that is zero. FFmpeg's AVFrame has room for eight pointers,
# and behind them stands the size of a plane, which is taken for a ninth pointer. `len(frame.planes)` says so without
# harm; frame.to_ndarray() reads that plane, and the process ends with a segmentation fault, which no `except` catches.
# Seven channels are right. Of nine and more, FFmpeg keeps the pointers in an array of their own, without a zero behind
# them: the count is right or not, as the memory there happens to be. Decoders of AC-3, E-AC-3,
# TrueHD, AAC, Opus and Vorbis give planar frames, and an AudioResampler(format="fltp") makes them of any: a film with
# 7.1 sound is enough.
# Seen: PyAV 18.1.0 (FFmpeg 8.1.2 in its wheel), Linux x86-64.
# edgecap has frames converted to packed samples ("flt"), which are one plane: frame.to_ndarray().reshape(-1, channels).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0
venv/bin/python - <<'PYTHON'
import sys

import av

print(f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}")
planes = {}
for layout in ("5.1", "6.1", "7.1", "hexadecagonal"):
    frame = av.AudioFrame(format="fltp", layout=layout, samples=64)
    packed = av.AudioFrame(format="flt", layout=layout, samples=64)
    planes[frame.layout.nb_channels] = len(frame.planes)
    print(f"{frame.layout.nb_channels:>2} channels: {len(frame.planes):>2} planes, packed {len(packed.planes)}")
if planes.pop(16) < 16 or planes != {6: 6, 7: 7, 8: 9}:
    sys.exit("CHANGED: other numbers of planes")
print("as described")
PYTHON
