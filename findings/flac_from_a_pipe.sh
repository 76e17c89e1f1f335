#!/usr/bin/env bash
# A FLAC recording that was written to a pipe: python-soundfile loses its last block, libsndfile itself reads it whole.
#
# Expected: an encoder that writes to a pipe cannot go back to fill in the number of samples, so the header says 0,
# which the FLAC format (RFC 9639, 8.2) defines as "unknown". Reading such a file by blocks up to its end should work.
# Instead: soundfile.read() raises ValueError "array is too big" (it makes room for 2**63 - 1 frames). Read by blocks,
# all goes well until the block that meets the end, and that one raises "Internal psf_fseek() failed" and is lost: up
# to a block's length of sound at the end, or all of a file shorter than a block. The message reads as a damaged file.
# SoundFile.read() seeks to where it stands after each block; libFLAC cannot seek to the end of a stream whose length
# is not known. sf_readf_float() of the same libsndfile, called without those seeks, returns every sample and no
# error.
# Seen: soundfile 0.14.0 with libsndfile 1.2.2, ffmpeg 7.0.2 (imageio-ffmpeg 0.6.0), Linux x86-64. Files of `ffmpeg -f
# segment` are alike.
# edgecap reads such a file to its end, since it never lets SoundFile seek. Elsewhere: encode again, which loses nothing
# with FLAC (ffmpeg -i piped.flac whole.flac), or let the encoder write
# to a file. A copy (-c copy) leaves the length unknown.
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

RATE, BLOCK = 16_000, 25_000
ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
print(f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}")
sound = 0.1 * np.random.default_rng(0).standard_normal(6 * RATE)
soundfile.write("sound.wav", sound, RATE)
encoder = [ffmpeg, "-v", "error", "-i", "sound.wav", "-f", "flac", "-"]
with open("piped.flac", "wb") as file:
    file.write(subprocess.run(encoder, check=True, stdout=subprocess.PIPE).stdout)
print(f"written {len(sound)} frames; the header says {soundfile.info('piped.flac').frames}")

whole_error = ""
try:
    soundfile.read("piped.flac")
except ValueError as error:
    whole_error = str(error)
print(f"soundfile.read: {whole_error or 'works'}")

by_blocks, block_error = 0, ""
with soundfile.SoundFile("piped.flac") as file:
    try:
        while len(block := file.read(BLOCK)):
            by_blocks += len(block)
    except soundfile.LibsndfileError as error:
        block_error = error.error_string
print(f"SoundFile.read by blocks: {by_blocks} frames, then: {block_error or 'the end'}")

library, direct = soundfile._snd, 0  # the C functions, without the seek after each
buffer = soundfile._ffi.new("float[]", BLOCK)
with soundfile.SoundFile("piped.flac") as file:
    while (count := library.sf_readf_float(file._file, buffer, BLOCK)) > 0:
        direct += count
    library_error = library.sf_error(file._file)
print(f"sf_readf_float by blocks: {direct} frames, error code {library_error}")

subprocess.run([ffmpeg, "-v", "error", "-i", "piped.flac", "-c", "copy", "copy.flac"], check=True)
copied = soundfile.info("copy.flac").frames
subprocess.run([ffmpeg, "-v", "error", "-i", "piped.flac", "whole.flac"], check=True)
encoded = soundfile.info("whole.flac").frames
print(f"header after ffmpeg -c copy: {copied} frames; after encoding again: {encoded}")
if not whole_error or not block_error or by_blocks >= len(sound):
    sys.exit("CHANGED: python-soundfile reads it")
if direct != len(sound) or library_error:
    sys.exit("CHANGED: libsndfile itself does not read every sample")
if copied == encoded or encoded != len(sound):
    sys.exit("CHANGED: a copy by ffmpeg has the length, or a new encoding does not")
print("as described: the last block is lost in the seek after it")
PYTHON
