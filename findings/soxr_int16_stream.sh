#!/usr/bin/env bash
# A soxr int16 stream repeats itself with blocks of 2048 samples and gives other samples each time with blocks of 1024.
#
# Expected: resampling is arithmetic. Zeros stay zeros, and a ResampleStream that is fed the same samples in the same
# blocks gives the same result each time, as it does with float32.
# Instead: with int16, libsoxr dithers, and no argument turns that off. Digital silence becomes noise of -1, 0 and 1,
# so "all samples are 0" (a muted microphone, padding) does not hold after it. soxr.resample() repeats itself: its
# dither is seeded from the data (python-soxr issue 10). So does a stream whose first block is long enough to give
# output at once. One whose first blocks give nothing yet (1024 samples of 44.1 or 48 kHz, a usual microphone block)
# seeds it with something else each time: two runs over one recording differ by 1 or 2 steps. The same test of
# repeatability therefore passes with 2048 and fails with 1024, and may pass there too in a program that does nothing
# else between the runs.
# Seen: soxr 1.1.0 (libsoxr 0.1.3-14-ga66f3ee in its wheel), Linux x86-64.
# edgecap resamples float32 only. Convert to float32 before soxr, and round once at the end.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 soxr==1.1.0
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import soxr

RUNS, TARGET = 12, 16_000
print(f"soxr {soxr.__version__} ({soxr.__libsoxr_version__}); {RUNS} runs each")
random = np.random.default_rng(0)


def stream(samples: np.ndarray, source: int, block: int) -> tuple[int, np.ndarray]:
    """Length of the first block's output, and the output of all blocks."""
    resampler = soxr.ResampleStream(source, TARGET, 1, dtype=samples.dtype)
    starts = range(0, len(samples), block)
    output = [resampler.resample_chunk(samples[at : at + block], last=at + block >= len(samples)) for at in starts]
    return len(output[0]), np.concatenate(output)


results = {}
for source in (44_100, 48_000):
    noise = np.random.default_rng(1).normal(0, 3000, source)
    for kind in ("float32", "int16"):
        samples = noise.astype(kind)
        for block in (1024, 2048):
            outputs = []
            for _ in range(RUNS):
                other_work = [random.bytes(int(size)) for size in random.integers(1, 20_000, 50)]
                first, output = stream(samples, source, block)
                outputs.append(output)
                del other_work
            different = len({output.tobytes() for output in outputs})
            spread = np.ptp(np.array(outputs, float), axis=0).max()
            results[source, kind, block] = first, different
            print(
                f"{source} Hz {kind:7} in blocks of {block}: the first block gives {first:3} samples; "
                f"{different:2} different results, up to {spread:.0f} apart"
            )
    silence = soxr.resample(np.zeros(source, "int16"), source, TARGET)
    results[source, "silence"] = int(np.abs(silence).max())
    print(f"{source} Hz int16   silence: {np.count_nonzero(silence)} of {len(silence)} samples are no longer 0")

for source in (44_100, 48_000):
    if any(results[source, "float32", block][1] != 1 for block in (1024, 2048)):
        sys.exit("CHANGED: float32 does not repeat itself either")
    if results[source, "silence"] == 0:
        sys.exit("CHANGED: int16 keeps silence")
    if results[source, "int16", 2048][1] != 1:
        sys.exit("CHANGED: int16 does not repeat itself with long blocks")
    if results[source, "int16", 1024][0] != 0 or results[source, "int16", 1024][1] < 2:
        sys.exit("CHANGED: int16 repeats itself with short blocks")
print("as described: an int16 stream repeats itself only if its first block gives output")
PYTHON
