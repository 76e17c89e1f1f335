"""One file into the cache: resumed where it was broken off, checked while it comes, tried again where that may help."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import BinaryIO

from edgecap.errors import DownloadError, IntegrityError, OutputError, reason_of
from edgecap.pull.cache import CacheSlot, Said, digest_of
from edgecap.pull.client import Answer, BrokenOffError, Client
from edgecap.pull.places import shown
from edgecap.util.limits import MOST_MODEL_FILE
from edgecap.util.parsing import host_of
from edgecap.util.progress import Progress, no_progress
from edgecap.util.text import clean

BLOCK = 1 << 18
WORTH_ANOTHER_TRY = {408, 425, 429, 500, 502, 503, 504}
RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")


class NotThereError(DownloadError):
    """The server is there and the file is not."""


class _RestartError(BrokenOffError):
    """What has come does not belong to the rest; the next try begins at the beginning."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is known of a file before it comes."""

    size: int | None = None
    sha256: str | None = None
    most: int = MOST_MODEL_FILE
    source: str = "the catalogue"
    """What states size and hash, for messages."""


@dataclass(frozen=True)
class _Try:
    client: Client
    slot: CacheSlot
    url: str
    wanted: Wanted
    deadline: float
    progress: Progress


def download(
    client: Client, slot: CacheSlot, url: str, wanted: Wanted, *, refresh: str = "", progress: Progress = no_progress
) -> Said:
    """Get `url` into `slot.data`, whose lock the caller holds; what is known of the file then.

    `refresh` is the ETag of the file that is there: a server that says "not modified" leaves it. What was complete
    before stays until another file is complete and right.
    Raises NotThereError, IntegrityError (another size or hash), DownloadError, OutputError.
    """
    limits = client.limits
    attempt = _Try(client, slot, url, wanted, time.monotonic() + limits.total, progress)
    for tries in range(1, limits.tries + 1):
        try:
            return _once(attempt, refresh)
        except _AgainError as error:
            delay, reason = error.seconds, str(error)
        except BrokenOffError as error:
            if isinstance(error, _RestartError):
                slot.part.unlink(missing_ok=True)
            delay, reason = None, str(error)
        except OSError as error:
            raise OutputError(
                f"{slot.part} cannot be written ({reason_of(error)}); free space, then type the same again: it goes "
                "on where it stopped"
            ) from error
        if delay is None:
            delay = limits.first_wait * 2 ** (tries - 1)
        left = attempt.deadline - time.monotonic()
        if delay > limits.longest_wait:
            raise DownloadError(f"{reason}; it asks to wait for {delay:.0f} s, so type the same again later")
        if tries == limits.tries or delay > left:
            raise DownloadError(f"{reason}; {tries} tries; type the same again later: it goes on where it stopped")
        client.wait(delay)
    raise AssertionError("unreachable")


class _AgainError(DownloadError):
    """The server asks for another try."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


def _once(attempt: _Try, refresh: str) -> Said:
    slot, before = attempt.slot, attempt.slot.said(attempt.slot.part)
    arrived = slot.part.stat().st_size if slot.part.is_file() else 0
    headers = {}
    if arrived and (before.validator or attempt.wanted.sha256):
        headers["Range"] = f"bytes={arrived}-"
        if before.validator:
            headers["If-Range"] = before.validator
    elif refresh:
        headers["If-None-Match"] = refresh
    left = attempt.deadline - time.monotonic()
    with attempt.client.get(attempt.url, headers, left) as answer:
        status = answer.status
        if status == 304 and refresh:
            return slot.said(slot.data)
        if status == 416 and arrived:
            return _complete_already(attempt, answer, before, arrived)
        if status == 206 and arrived:
            start, total = _range(answer, arrived)
        elif status == 200:
            start, total = 0, _length(answer)
        else:
            raise _refused(answer)
        now = _said(answer)
        if start and now.etag and before.etag and now.etag != before.etag:
            raise _RestartError(f"{shown(attempt.url)} changed while it was being got")
        return _receive(attempt, answer, start, total, before if start else now)


def _receive(attempt: _Try, answer: Answer, start: int, total: int | None, now: Said) -> Said:
    """The body into the part, hashed as it comes; then the part becomes the file."""
    slot, wanted = attempt.slot, attempt.wanted
    most = min(wanted.most, wanted.size if wanted.size is not None else wanted.most)
    name = shown(attempt.url)
    if wanted.size is not None and total is not None and total != wanted.size:
        raise IntegrityError(
            f"{name} has {total} bytes and {wanted.source} says {wanted.size}; nothing was changed; try another mirror"
        )
    if total is not None and total > most:
        raise DownloadError(f"{name} has {total} bytes and at most {most} are taken; nothing was changed")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise DownloadError(f"{name} comes compressed although that was not asked for; nothing was changed")
    if total is None and wanted.size is None and not wanted.sha256 and "chunked" not in _coding(answer):
        raise DownloadError(f"{name} comes without a length, so nobody can say whether it is complete")
    slot.check_space((total or 0) - start)
    if not start:
        slot.note(slot.part, now)
    digest = hashlib.sha256()
    with slot.part.open("r+b" if start else "wb", buffering=0) as part:
        while start and (block := part.read(BLOCK)):
            digest.update(block)
        count = _body(attempt, answer, part, start, most, total, digest.update)
    expected = total if total is not None else wanted.size
    if expected is not None and count != expected:
        raise BrokenOffError(f"{name} broke off after {count} of {expected} bytes")
    return _accept(attempt, replace(now, sha256=digest.hexdigest(), size=count), resumed=bool(start))


def _body(  # noqa: PLR0917
    attempt: _Try,
    answer: Answer,
    part: BinaryIO,
    count: int,
    most: int,
    total: int | None,
    update: Callable[[bytes], None],
) -> int:
    """Read to the end; the bytes that there are then. Raises BrokenOffError where too few come in time."""
    limits, mark, since = attempt.client.limits, count, time.monotonic()
    while block := answer.read(BLOCK):
        count += len(block)
        if count > most:
            raise DownloadError(f"{shown(attempt.url)} sends more than {most} bytes; nothing was changed")
        part.write(block)
        update(block)
        attempt.progress(count, total, attempt.slot.place.rpartition("/")[2])
        now = time.monotonic()
        if count - mark >= limits.least:
            mark, since = count, now
        elif now - since > limits.stall:
            raise BrokenOffError(f"{shown(attempt.url)} sends fewer than {limits.least} bytes in {limits.stall:g} s")
    return count


def _accept(attempt: _Try, now: Said, resumed: bool) -> Said:
    """Check the complete part, and make it the file."""
    wanted, slot = attempt.wanted, attempt.slot
    expected = [(wanted.sha256, wanted.source), (now.declared, host_of(attempt.url))]
    for sha256, source in expected:
        if sha256 and sha256 != now.sha256:
            slot.part.unlink(missing_ok=True)
            message = (
                f"{shown(attempt.url)} has the SHA-256 {now.sha256[:12]}… and {source} says {sha256[:12]}…; "
                "nothing was changed"
            )
            raise _RestartError(message) if resumed else IntegrityError(message)
    slot.part.replace(slot.data)
    slot.note(slot.data, now)
    return now


def _complete_already(attempt: _Try, answer: Answer, before: Said, arrived: int) -> Said:
    """After 416: the part is the file, or it belongs to another one."""
    match = RANGE.fullmatch(answer.headers.get("content-range", ""))
    known = attempt.wanted.sha256 or before.declared
    if match and match[3] == str(arrived) and known:
        return _accept(attempt, replace(before, sha256=digest_of(attempt.slot.part), size=arrived), resumed=True)
    attempt.slot.part.unlink(missing_ok=True)
    raise _AgainError(f"{shown(attempt.url)} is shorter than what came of it before", 0.0)


def _range(answer: Answer, arrived: int) -> tuple[int, int | None]:
    """Begin of the rest, and size of all. Raises _RestartError for another part than was asked for."""
    match = RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None or match[1] != str(arrived):
        raise _RestartError(f"{shown(answer.url)} answers with another part of the file than was asked for")
    return arrived, None if match[3] == "*" else int(match[3])


def _length(answer: Answer) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 19 and "chunked" not in _coding(answer) else None


def _coding(answer: Answer) -> str:
    return answer.headers.get("transfer-encoding", "").lower()


def _said(answer: Answer) -> Said:
    linked = answer.headers.get("x-linked-etag", "").strip('"')
    declared = linked if re.fullmatch(r"[0-9a-f]{64}", linked) else ""
    revision = answer.headers.get("x-repo-commit", "")
    return Said(
        etag=clean(answer.headers.get("etag", ""))[:200],
        last_modified=clean(answer.headers.get("last-modified", ""))[:100],
        declared=declared,
        revision=revision if re.fullmatch(r"[0-9a-f]{40}", revision) else "",
    )


def _refused(answer: Answer) -> DownloadError:
    """What an answer without content means."""
    name, status = shown(answer.url), answer.status
    if status in {404, 410}:
        return NotThereError(f"{name} does not exist ({status})")
    if status in {401, 403}:  # so the hub answers for a repository that does not exist, too
        return NotThereError(f"{name} does not exist, or needs a login ({status})")
    if status in WORTH_ANOTHER_TRY:
        return _AgainError(f"{name} answers {status}", _seconds(answer.headers.get("retry-after", "")))
    return DownloadError(f"{name} answers {status}, which is no file")


def _seconds(text: str) -> float | None:
    """Retry-After in seconds, at least 0; None where it is missing or cannot be read."""
    if text.isdecimal() and len(text) < 12:
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None
