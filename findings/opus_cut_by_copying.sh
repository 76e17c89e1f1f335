#!/usr/bin/env bash
# An Opus recording cut with `ffmpeg -ss 90 -c copy` plays in ffmpeg and is refused by libsndfile as malformed.
#
# Expected: cutting without encoding again copies packets, so the cut file is as good as the one that it came from.
# That holds for mp3 and, but for some packets at the start, for Ogg Vorbis.
# Instead: the first page of the cut Opus file holds 50 packets, and its granule position says that fewer samples than
# those have been played: ffmpeg gives the packets before the cut negative times. RFC 7845 (section 4.5) has players
# reject such a stream, and libsndfile does ("Supported file format but file is malformed"). ffmpeg, which wrote it,
# reads it, so a look with ffprobe or ffplay finds no fault. Copied a second time, without -ss, it is a valid file.
# Seen: ffmpeg 7.0.2 (imageio-ffmpeg 0.6.0) and 5.1.9, soundfile 0.14.0 with libsndfile 1.2.2, Linux x86-64.
# edgecap reads it with PyAV or ffmpeg where one is installed, else it says that it cannot. Cut with encoding (leave
# `-c copy` out), or mend it: ffmpeg -i cut.opus -c copy mended.opus.
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

ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
print(f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")


def run(*arguments: str) -> None:
    subprocess.run([ffmpeg, "-v", "error", "-y", *arguments], check=True)


def seconds(path: str) -> float | str:
    """Length of a file as libsndfile reads it, or why it does not."""
    try:
        samples, rate = soundfile.read(path)
    except soundfile.LibsndfileError as error:
        return error.error_string
    return len(samples) / rate


def first_page(path: str) -> tuple[int, int]:
    """Granule position of the first page of sound, and how many packets it holds."""
    with open(path, "rb") as file:
        data = file.read()
    position = 0
    while True:
        segments = data[position + 27 : position + 27 + data[position + 26]]
        granule = int.from_bytes(data[position + 6 : position + 14], "little", signed=True)
        position += 27 + len(segments)
        if not data[position:].startswith((b"OpusHead", b"OpusTags")):
            return granule, sum(size < 255 for size in segments)
        position += sum(segments)


soundfile.write("sound.wav", 0.1 * np.random.default_rng(0).standard_normal(4 * 48_000), 48_000)
result = {}
for suffix, codec in (("mp3", "libmp3lame"), ("ogg", "libvorbis"), ("opus", "libopus")):
    run("-i", "sound.wav", "-c:a", codec, f"sound.{suffix}")
    run("-ss", "1.5", "-i", f"sound.{suffix}", "-c", "copy", f"cut.{suffix}")
    run("-i", f"cut.{suffix}", "-c:a", "pcm_s16le", "decoded.wav")
    result[suffix] = seconds(f"cut.{suffix}"), seconds("decoded.wav")
    print(f"{suffix:4} cut at 1.5 of 4 s: libsndfile: {result[suffix][0]}; ffmpeg: {result[suffix][1]}")
granule, packets = first_page("cut.opus")
print(f"first page of the cut Opus file: {packets} packets of 960 samples end at sample {granule}")
run("-i", "cut.opus", "-c", "copy", "again.opus")
mended = seconds("again.opus")
print(f"copied once more: libsndfile: {mended}")
if not isinstance(result["opus"][0], str) or isinstance(result["opus"][1], str) or granule >= 960 * packets:
    sys.exit("CHANGED: libsndfile reads the cut file, or ffmpeg does not")
if isinstance(mended, str):
    sys.exit("CHANGED: a second copy does not mend it")
if isinstance(result["mp3"][0], str) or isinstance(result["ogg"][0], str):
    sys.exit("CHANGED: a cut mp3 or Ogg Vorbis file is not read either")
print("as described: of the three cut files only the Opus one is refused")
PYTHON
