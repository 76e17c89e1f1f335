#!/usr/bin/env bash
# ffmpeg reads WebVTT up to the first block without a time, and says nothing about the cues after it.
#
# Expected: a blank line ends a cue, so a caption with a blank line in it leaves a stray paragraph. The parser in the
# W3C's WebVTT specification drops that block and goes on to the next cue; pysubs2 adds it to the caption.
# Instead: ffmpeg takes the stray block for the end of the file. It converts the cues before it, exits with 0 and
# prints nothing, even with -v warning: an hour of captions ends at the first such cue. The same cues as SRT are all
# read. Debian 12's ffmpeg 5.1 (also that of Raspberry Pi OS 12) also stops at a STYLE or REGION block, which a valid
# file may have before its cues: it then writes nothing at all ("Output file is empty"). 7.0 knows those two.
# Seen: ffmpeg 7.0.2 (imageio-ffmpeg 0.6.0), pysubs2 1.8.1, Linux x86-64; ffmpeg 5.1.9 where it is on PATH.
# edgecap writes each caption on one line, so its files have no such block. Before giving another program's WebVTT to
# ffmpeg, remove blank lines within cues, or have pysubs2 write it anew: pysubs2 --to srt captions.vtt.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.6.0 pysubs2==1.8.1
cat >captions.vtt <<'VTT'
WEBVTT

00:00:01.000 --> 00:00:02.000
a dog barks

and a door shuts

00:00:03.000 --> 00:00:04.000
rain falls

00:00:05.000 --> 00:00:06.000
a car passes
VTT
cat >styled.vtt <<'VTT'
WEBVTT

STYLE
::cue { color: white }

00:00:01.000 --> 00:00:02.000
a dog barks
VTT
cat >captions.srt <<'SRT'
1
00:00:01,000 --> 00:00:02,000
a dog barks

and a door shuts

2
00:00:03,000 --> 00:00:04,000
rain falls

3
00:00:05,000 --> 00:00:06,000
a car passes
SRT
cues() { # of a file, as the ffmpeg $1 reads it
    "$1" -v error -i "$2" -f srt - 2>/dev/null | grep -c -- '-->' || true
}
recent=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
status=0
"$recent" -v warning -i captions.vtt -f srt - >converted.srt 2>said.txt || status=$?
venv/bin/pysubs2 --to srt --output-dir pysubs2 captions.vtt
for ffmpeg in "$recent" $(command -v ffmpeg || true); do
    "$ffmpeg" -version | sed -n '1s/ Copyright.*//p'
    for file in captions.vtt captions.srt styled.vtt; do
        echo "  $file: $(cues "$ffmpeg" "$file") of $(grep -c -- '-->' "$file") cues"
    done
done
echo "ffmpeg 7.0.2 with captions.vtt: exit status $status, $(wc -c <said.txt) bytes of messages with -v warning"
echo "pysubs2 1.8.1 with captions.vtt: $(grep -c -- '-->' pysubs2/captions.srt) of 3 cues"
[ "$status" = 0 ] && [ ! -s said.txt ] || { echo "CHANGED: ffmpeg says something or fails"; exit 1; }
[ "$(cues "$recent" captions.vtt)" = 1 ] || { echo "CHANGED: ffmpeg reads the cues after the stray block"; exit 1; }
[ "$(cues "$recent" captions.srt)" = 3 ] || { echo "CHANGED: ffmpeg loses cues of the SRT file too"; exit 1; }
[ "$(grep -c -- '-->' pysubs2/captions.srt)" = 3 ] || { echo "CHANGED: pysubs2 loses cues too"; exit 1; }
echo "as described: of three cues ffmpeg reads one, in silence"
