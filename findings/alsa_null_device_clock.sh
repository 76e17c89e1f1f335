#!/usr/bin/env bash
# ALSA's `null` device gives an hour of sound in a second or two, and PortAudio passes them on without a word.
#
# Expected: a capture device delivers sound as fast as time passes, so a program may take the number of samples for
# its clock. Machines without a sound card (containers, boards, test runners) often have `pcm.!default { type null }`,
# which is meant to be a microphone that hears nothing.
# Instead: the null device never waits. PortAudio opens it as the default input at any rate, names it "default",
# reports no overflow, and its callback and its blocking reads get 800 to 27,000 seconds of sound in each second of
# time, with a processor core at full load. A listener that takes samples for time is hours ahead after a second. Nor
# is it always silence: the device writes nothing into the buffer, so that a new buffer's old contents come as
# samples: zeros in some runs, values up to 3e38 in others.
# Seen: sounddevice 0.5.6 with PortAudio 19.6.0 and ALSA of Debian 12 (libportaudio2), Linux x86-64. No sound card is
# used: the script gives ALSA its own configuration.
# What to do: name the microphone (edgecap listen --device NAME) where the default may be none, and compare the
# samples that came with the time that passed before believing a device.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 sounddevice==0.5.6
printf 'pcm.!default { type null }\nctl.!default { type null }\n' >asound.conf
ALSA_CONFIG_PATH=$work/asound.conf venv/bin/python - <<'PYTHON'
import sys
import time

try:
    import sounddevice
except OSError as error:
    sys.exit(f"not tried: {error}; type: sudo apt install libportaudio2")

RATE, SECONDS = 16_000, 1.0
print(f"sounddevice {sounddevice.__version__}, {sounddevice.get_portaudio_version()[1].split(',')[0]}")
print(f"default input: {sounddevice.query_devices(kind='input')['name']!r}")

frames, overflows, loudest = 0, 0, 0.0
with sounddevice.InputStream(samplerate=RATE, channels=1, blocksize=RATE // 10) as stream:
    began, busy = time.monotonic(), time.process_time()
    while time.monotonic() - began < SECONDS:
        block, overflow = stream.read(RATE // 10)
        frames += len(block)
        overflows += overflow
        loudest = max(loudest, float(abs(block).max()))
    busy = time.process_time() - busy
read = frames / RATE
print(f"blocking reads: {read:.0f} s of sound in {SECONDS:.0f} s, {overflows} overflows, peak {loudest:g}")
print(f"                {busy:.1f} s of processor time")

counts = [0, 0]


def count(_block: object, length: int, _time: object, status: sounddevice.CallbackFlags) -> None:
    counts[0] += length
    counts[1] += bool(status)


with sounddevice.InputStream(samplerate=RATE, channels=1, blocksize=RATE // 10, callback=count):
    time.sleep(SECONDS)
called = counts[0] / RATE
print(f"callback:       {called:.0f} s of sound in {SECONDS:.0f} s, {counts[1]} with a status")
if min(read, called) < 20 * SECONDS or overflows or counts[1]:
    sys.exit("CHANGED: the null device waits, or something is reported")
print("as described: sound comes far faster than time, and nothing is reported")
PYTHON
