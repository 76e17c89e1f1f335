#!/usr/bin/env bash
# libsndfile decodes an Opus file at 8 kHz when the header leaves its "input sample rate" empty.
#
# Expected: that field of an Ogg Opus header says what the encoder was fed with. RFC 7845 (section 5.1) calls it
# information only, not the rate to play at, and 0 means "unspecified". Opus is coded at 48 kHz in any case, and
# ffmpeg decodes every such file at 48 kHz.
# Instead: libsndfile takes the field for the rate to decode at. 0 becomes 8000 Hz and 16000 becomes 16000 Hz, so all
# above 4 kHz (or 8 kHz) is gone without a warning: a 6 kHz tone, a bird or an alarm, is not there. 44100 and 96000
# give 48000 Hz, as they should.
# Seen: soundfile 0.14.0 with libsndfile 1.2.2, imageio-ffmpeg 0.6.0 (ffmpeg 7.0.2), Linux x86-64. The file is a plain
# recording in which only this field and the page's checksum differ.
# edgecap gives libsndfile the file with 48000 in that field where it is 0. Elsewhere decode it with ffmpeg first:
# ffmpeg -i recording.opus recording.wav. A program that writes Opus should put 48000 there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 soundfile==0.14.0 imageio-ffmpeg==0.6.0
venv/bin/python - <<'PYTHON'
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import soundfile

RATE, TONE = 48_000, 6_000
ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
print(f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def page_checksum(page: bytes) -> int:
    """The CRC-32 of an Ogg page (polynomial 0x04c11db7, not reflected) whose own checksum field is zero."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 1 << 31 else 0)) & 0xFFFFFFFF
    return value


def with_input_rate(source: str, target: str, rate: int) -> None:
    """Copy an Ogg Opus file with another "input sample rate" in its first page."""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    end = 27 + data[26] + sum(data[27 : 27 + data[26]])
    field = data.index(b"OpusHead") + 12
    data[field : field + 4] = rate.to_bytes(4, "little")
    data[22:26] = bytes(4)
    data[22:26] = page_checksum(data[:end]).to_bytes(4, "little")
    with open(target, "wb") as file:
        file.write(data)


def tone_level(path: str) -> tuple[int, float]:
    """Sample rate of a file, and the level of its 6 kHz tone in dB relative to full scale."""
    samples, rate = soundfile.read(path)
    if rate <= 2 * TONE:
        return rate, -np.inf
    middle = samples[rate : 2 * rate]
    amplitude = 2 * abs(np.mean(middle * np.exp(-2j * np.pi * TONE * np.arange(rate) / rate)))
    return rate, 20 * np.log10(amplitude)


time = np.arange(3 * RATE) / RATE
soundfile.write("original.opus", 0.25 * np.sin(2 * np.pi * TONE * time), RATE, format="OGG", subtype="OPUS")
seen = {}
for field in (48_000, 44_100, 16_000, 0):
    with_input_rate("original.opus", "changed.opus", field)
    command = [ffmpeg, "-v", "error", "-y", "-i", "changed.opus", "-c:a", "pcm_f32le", "ffmpeg.wav"]
    subprocess.run(command, check=True)
    seen[field] = tone_level("changed.opus"), tone_level("ffmpeg.wav")
    for name, (rate, level) in zip(("libsndfile", "ffmpeg"), seen[field], strict=True):
        print(f"field {field:5}: {name:10} {rate:5} Hz, tone {level:6.1f} dBFS")

if any(rate != RATE or level < -15 for _, (rate, level) in seen.values()):
    sys.exit("CHANGED: ffmpeg no longer decodes all of them at 48 kHz")
if [seen[field][0][0] for field in seen] != [48_000, 48_000, 16_000, 8_000]:
    sys.exit("CHANGED: libsndfile no longer decodes at the rate in the header")
print("as described: the field decides what libsndfile decodes, and an empty one means 8 kHz")
PYTHON
