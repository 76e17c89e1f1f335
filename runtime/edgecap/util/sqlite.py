"""What is wrong with a SQLite file, and what helps."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


class Damaged(sqlite3.DatabaseError):
    """A file that SQLite opens and that does not hold together."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """Raise Damaged where SQLite's message quotes bytes of the file that are not UTF-8; also a decorator.

    Python's sqlite3 then raises UnicodeDecodeError in place of the error that it cannot word.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise Damaged("it holds text that is not UTF-8") from error


@contextmanager
def read_only(path: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    """A file to read while others write to it; what takes longer than `seconds` in all is interrupted.

    Raises sqlite3.Error.
    """
    deadline = time.monotonic() + seconds
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1.0)
    with closing(database), readable_errors():
        database.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
        yield database


def check(database: sqlite3.Connection) -> str:
    """What is wrong with the file; empty where nothing is."""
    (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    return "" if answer == "ok" else " ".join(str(answer).split())


def hold_space(database: sqlite3.Connection, pages: int) -> None:
    """Let a file and its write-ahead log hold `pages` free pages, which can be written when the disk is full.

    They are written once: a file that was only made longer has no place on the disk yet. Where there is no space, none
    is held. A new connection needs it again, since the log is removed with the last one.
    """
    (size,) = database.execute("PRAGMA page_size").fetchone()
    for statement in (
        "DROP TABLE IF EXISTS held",  # of a process that was killed here
        f"CREATE TABLE held AS SELECT zeroblob({pages * size}) AS space",
        "DROP TABLE held",
        "PRAGMA wal_checkpoint(PASSIVE)",  # into the file, so that the log is written again from its beginning
    ):
        try:
            database.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if _code(error) not in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR} and not is_held(error):
                raise
            if database.in_transaction:
                database.execute("ROLLBACK")


def give_back_space(database: sqlite3.Connection, pages: int) -> None:
    """Give free pages back to the disk, except `pages`; where it has fewer than half as many, hold them again."""
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    if free > pages:
        database.execute(f"PRAGMA incremental_vacuum({free - pages})").fetchall()
    elif free < pages // 2:
        hold_space(database, pages)


def refuse_read_only(path: Path) -> None:
    """Raise OSError where an open file can no longer be written, as on a disk that the kernel made read-only.

    SQLite would then end the process (SIGBUS): it writes to the index of its log through memory.
    """
    with suppress(FileNotFoundError):  # it was moved
        os.utime(path)  # opens nothing: to close a file again would end SQLite's locks


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the content of the file is wrong, rather than its place or the disk."""
    return isinstance(error, Damaged) or _code(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def may_have_been(path: Path, table: str) -> bool:
    """Whether a damaged file was SQLite's with such a table, as far as can be seen, and not one named by mistake."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return head.startswith(b"SQLite format 3") or f"CREATE TABLE {table}".encode() in head or not any(head[:16])


def is_held(error: Exception) -> bool:
    """Whether another program holds the file."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def explained(error: Exception) -> str:
    """Why a file cannot be written, and what helps."""
    if isinstance(error, MemoryError):
        return "(there is not enough memory); end other programs, or raise the limit"
    if isinstance(error, OSError):
        return f"({error.strerror}); check the folder and its permissions"
    advice = {
        sqlite3.SQLITE_BUSY: "another program is writing to it: end that",
        sqlite3.SQLITE_LOCKED: "another program is writing to it: end that",
        sqlite3.SQLITE_FULL: "free space",
        sqlite3.SQLITE_CANTOPEN: "check the folder and its permissions",
        sqlite3.SQLITE_READONLY: "check its permissions",
        sqlite3.SQLITE_PERM: "check its permissions",
        sqlite3.SQLITE_IOERR: "check the disk, and free space",
    }
    return f"({error}); {advice.get(_code(error) or 0, 'name another file')}"


def _code(error: Exception) -> int | None:
    """SQLite's primary result code."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
