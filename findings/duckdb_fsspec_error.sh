#!/usr/bin/env bash
# DuckDB reads Parquet through a file system of fsspec whose connection is lost: the error says "Traceback".
#
# Expected: what the file system raises (here a ConnectionError, which is an OSError) reaches the caller, or is at least
# the cause of DuckDB's error, so that a lost connection is told from a damaged file by the class.
# Instead: duckdb.Error itself is raised, no subclass of it, without a cause; its text is Python's traceback, so the
# first line, which is what programs show, is "Traceback (most recent call last):", and its last lines may be the
# statement with a mark in it. A damaged file is a subclass
# (InvalidInputException), a file that is gone another (IOException).
# Seen: duckdb 2.0.1, fsspec 2026.9.0, Python 3.11.
# edgecap takes the last line of the traceback in such a text, and advises to check the network rather than to remove a damaged file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.1 fsspec==2026.9.0
venv/bin/python - <<'PYTHON'
import sys

import duckdb
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

print(f"duckdb {duckdb.__version__}, fsspec {fsspec.__version__}")


class Bucket(MemoryFileSystem):
    connected = True

    def _open(self, *arguments, **more):
        if not Bucket.connected:
            raise ConnectionError("the line is dead")
        return super()._open(*arguments, **more)


duckdb.execute("COPY (SELECT 'a dog is barking' AS caption) TO 'captions.parquet'")
bucket = Bucket()
bucket.pipe_file("/captions.parquet", open("captions.parquet", "rb").read())
database = duckdb.connect()
database.register_filesystem(bucket)
question = "SELECT caption FROM read_parquet('memory://captions.parquet')"
if database.execute(question).fetchall() != [("a dog is barking",)]:
    sys.exit("CHANGED: the file cannot be read at all")
Bucket.connected = False
try:
    database.execute(question).fetchall()
except Exception as error:
    lines = str(error).partition("\nLINE ")[0].strip().splitlines()  # behind it is the place in the statement
    print(f"class {type(error).__name__}, cause {error.__cause__!r}")
    print(f"first line: {lines[0]}\nlast line: {lines[-1]}")
    as_described = (
        type(error) is duckdb.Error
        and error.__cause__ is None
        and lines[0].startswith("Traceback")
        and lines[-1] == "ConnectionError: the line is dead"
    )
    if as_described:
        print("as described: the text of DuckDB's error is a traceback, and its class says nothing")
        sys.exit(0)
print("CHANGED: the error is told in another way")
sys.exit(1)
PYTHON
