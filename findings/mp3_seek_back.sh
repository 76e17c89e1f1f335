#!/usr/bin/env bash
# Overlapping windows of an mp3 file: a seek back by one to three frames returns up to three frames of wrong samples.
#
# Expected: seek(n) and read() on an open file give what a read from the start gives at n.
# Instead: after a read, a seek back by 1.5 to 3 mp3 frames (a frame is 576 samples up to 24 kHz, 1152 above: 55 to
# 110 ms at 16 kHz) returns 20 to 90 ms of wrong sound, then it is right again. Seeks further back, seeks forward and
# the first seek after opening are exact or nearly so. A reader of one-second windows that overlap by 100 ms therefore
# gets a damaged head in nearly every window, and one whose windows overlap by 150 ms in hardly any: the smaller
# overlap is the worse. An mp3 frame borrows bits from the frames before it, and after such a seek the decoder does
# not have them. It says so on stderr ("part2_3_length too large for available bit count"), which is read as a damaged
# file (python-soundfile issue 402): it is none.
# Seen: soundfile 0.14.0 with libsndfile 1.2.2 (and the libmpg123 in its wheel), Linux x86-64; files of libsndfile and
# ffmpeg.
# edgecap never seeks: its windows overlap in memory. Do the same, or open the file anew for each window.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 soundfile==0.14.0
# the decoder writes a line for each damaged frame to stderr
venv/bin/python - 2>decoder.txt <<'PYTHON' || { tail -n 5 decoder.txt >&2; exit 1; }
import sys

import numpy as np
import soundfile

print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
RATE, WINDOW = 16_000, 16_000
soundfile.write("sound.mp3", 0.1 * np.random.default_rng(0).standard_normal(30 * RATE), RATE)
print("the sound has an RMS of 0.10; a negative overlap is a gap")
reference, _ = soundfile.read("sound.mp3", dtype="float32")
share = {}
for overlap in (0.25, 0.15, 0.1, 0.06, 0.0, -0.1):
    step = WINDOW - round(overlap * RATE)
    starts = range(0, len(reference) - WINDOW, step)
    heads, errors = [], []
    with soundfile.SoundFile("sound.mp3") as file:
        for start in starts:
            file.seek(start)
            window = file.read(WINDOW, dtype="float32")
            error = np.abs(window - reference[start : start + WINDOW])
            if error.max() > 0.01:
                heads.append(int(np.flatnonzero(error > 0.01)[-1]) + 1)
                errors.append(float(error.max()))
    share[overlap] = len(heads) / len(starts)
    worst = f", for up to {1000 * max(heads) / RATE:.0f} ms, by up to {max(errors):.2f}" if heads else ""
    print(f"windows that overlap by {1000 * overlap:5.0f} ms: {len(heads):2} of {len(starts)} wrong{worst}")
if max(share[overlap] for overlap in (0.25, 0.15, 0.0, -0.1)) > 0.2:
    sys.exit("CHANGED: other seeks are often wrong too")
if min(share[0.1], share[0.06]) < 0.8:
    sys.exit("CHANGED: short seeks back are mostly right")
print("as described: short seeks back return a wrong head")
PYTHON
printf 'lines that the decoder wrote to stderr: %s\n' "$(wc -l <decoder.txt)"
