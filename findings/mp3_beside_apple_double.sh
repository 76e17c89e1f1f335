#!/usr/bin/env bash
# libsndfile refuses an mp3 when a file of macOS lies beside it, or in the working folder.
#
# Expected: whether a file can be opened depends on the file. Cards and sticks that a Mac has written to are full of
# companions, `._dog.mp3` beside `dog.mp3` ("AppleDouble", Finder's data, 4096 bytes), and programs pass them over.
# Instead: an mp3 that begins with its first frame, without an ID3v2 tag (lame writes those), gives "bad resource
# fork". Before libsndfile looks for a frame of an mp3, it looks for the companion, as Sound Designer II kept its header
# in one, and where there is one it is sure that the sound is such a file. What is in the companion does not matter: an
# empty one does it ("bad data length"), and so does a folder `.AppleDouble` with a file of that name. A file-like object
# has no name, so the companion is `._` in the working folder: with such a file there, io.BytesIO of any such mp3 is
# refused, in another folder it is not. An mp3 with a tag, and all other formats, are not affected.
# Seen: soundfile 0.14.0 with libsndfile 1.2.2, Linux x86-64.
# edgecap puts an empty tag of 10 bytes before an mp3 that is refused. Elsewhere: delete the companions, or give
# libsndfile a tag before the file, b"ID3\3\0\0\0\0\0\n" + bytes(10).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 soundfile==0.14.0
venv/bin/python - <<'PYTHON'
import io
import sys
from pathlib import Path

import numpy as np
import soundfile

print(f"soundfile {soundfile.__version__}, libsndfile {soundfile.__libsndfile_version__}")
soundfile.write("dog.mp3", 0.1 * np.random.default_rng(0).standard_normal(32_000), 16_000)
data = Path("dog.mp3").read_bytes()
data = data[data.index(b"\xff") :]  # without a tag, if there was one
Path("dog.mp3").write_bytes(data)
companion = bytes.fromhex("0005160700020000") + b"Mac OS X".ljust(4088, b"\0")


def outcome(source):
    try:
        return f"{soundfile.info(source).duration:.1f} s"
    except soundfile.LibsndfileError as error:
        return error.error_string


def both():
    return outcome("dog.mp3"), outcome(io.BytesIO(data)), outcome(io.BytesIO(b"ID3\3\0\0\0\0\0\n" + bytes(10) + data))


rows = {"alone": both()}
Path("._dog.mp3").write_bytes(companion)
rows["with ._dog.mp3"] = both()
Path("._dog.mp3").rename("._")
rows["with ._"] = both()
Path("._").write_bytes(b"")
rows["with an empty ._"] = both()
print(f"{'':<18}{'dog.mp3':<28}{'io.BytesIO':<28}with an empty tag")
for name, cells in rows.items():
    print(f"{name:<18}" + "".join(f"{cell:<28}" for cell in cells))
heard = [[cell.endswith(" s") for cell in cells] for cells in rows.values()]
if heard != [[True, True, True], [False, True, True], [True, False, True], [True, False, True]]:
    sys.exit("CHANGED: other files are refused")
print("as described")
PYTHON
