"""FFmpeg as a decoder, for formats that libsndfile cannot read: AAC, MP4, WebM, WMA, FLAC in Ogg and many more.

It is used through PyAV (the extra `media`) where that is installed, else through the program ffmpeg on PATH.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from edgecap.audio.decoders.decoder import DecodeError, Decoder
from edgecap.audio.decoders.ranges import ByteReader
from edgecap.audio.decoders.uncompressed import has_no_samples


def media_available() -> bool:
    """Whether PyAV or ffmpeg is installed."""
    return find_spec("av") is not None or shutil.which("ffmpeg") is not None


def open_media(path: Path) -> Decoder:
    """A decoder of a file's first audio stream: PyAV's, else ffmpeg's, which may be of another version. Raises
    DecodeError.
    """
    from edgecap.audio.decoders.ffmpeg import FfmpegDecoder  # what most files do not need delays no start
    from edgecap.audio.decoders.pyav import PyAvDecoder

    reader = ByteReader(path)
    try:
        if has_no_samples(reader):  # FFmpeg 8.1 takes a gigabyte of memory where the size of a chunk is wrong
            raise DecodeError("its header is damaged: it leads to no samples")
    finally:
        reader.close()
    if find_spec("av") is None:
        return FfmpegDecoder(path)
    try:
        return PyAvDecoder(path)
    except DecodeError as error:
        if shutil.which("ffmpeg") is None:
            raise
        try:
            return FfmpegDecoder(path)
        except DecodeError:
            raise error from None
