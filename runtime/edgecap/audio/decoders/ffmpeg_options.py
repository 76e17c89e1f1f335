"""What FFmpeg may open, and which of the lengths that it names are more than estimates.

Only containers of sound and video are accepted, so that a playlist cannot make it open other files or addresses, and
samples without a header are not, because their rate would be a guess.
"""

from __future__ import annotations

CONTAINERS = (
    "aac,aax,ac3,ac4,adx,aea,aiff,amr,amrnb,amrwb,ape,aptx,aptx_hd,asf,ast,au,avi,avr,bfstm,brstm,caf,dsf,dss,dts,dtshd,"
    "dv,eac3,epaf,flac,flv,fsb,g722,g723_1,g726,g726le,g729,gsm,gxf,hca,hcom,iff,ilbc,ircam,laf,lc3,libmodplug,"
    "libopenmpt,live_flv,loas,m4v,matroska,mlp,mmf,mov,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,msf,mxf,nistsphere,nsv,nut,ogg,"
    "oma,osq,paf,pvf,qcp,qoa,rka,rm,rso,sbc,sds,shn,smjpeg,sox,spdif,swf,tak,truehd,tta,voc,vqf,w64,wav,wavarc,webm,wsd,"
    "wsvqa,wtv,wv,wve,xa,xvag,xwma"
)
"""Names of FFmpeg's demuxers that are accepted; none of them follows references to other files."""
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file,pipe"}
STATING = {"mov", "matroska", "asf", "flac", "wav", "wv", "tta", "caf", "w64"}
"""Demuxers whose duration is what the file states, and not an estimate from its bit rate."""
LOSS_SECONDS = 0.05
PACKET_SECONDS = 0.25
"""Seconds that may be missing at the end of a WebM or Matroska file: its last packets need not be full."""


def promised_seconds(demuxer: str, streams: int, start: float, duration: float) -> float | None:
    """What a Matroska or WebM file with one stream promises; elsewhere a duration is an estimate, or of the pictures.

    `duration` is the time of the end, which in a recording that is written in pieces is not its length.
    """
    if "matroska" not in demuxer or streams != 1 or not duration:
        return None
    return max(0.0, duration - max(0.0, start)) or None


def ends_early(demuxer: str, start: float, duration: float, seconds: float) -> bool:
    """Whether the container of a damaged sound states a duration, and it is longer than the `seconds` heard."""
    states = not STATING.isdisjoint(demuxer.split(","))
    return seconds == 0 or (states and duration - max(0.0, start) - seconds > LOSS_SECONDS)
