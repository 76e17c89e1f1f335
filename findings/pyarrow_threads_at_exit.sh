#!/usr/bin/env bash
# A short process that reads a Parquet file from memory with pyarrow and ends: now and then it is aborted at its end.
#
# Expected: a Python program whose last statement is pyarrow.parquet.read_table(io.BytesIO(data)) ends with exit code 0.
# Instead: a few in a hundred end with SIGABRT (exit code 134) and "terminate called without an active exception" on
# stderr. With a path in place of the BytesIO none did. read_table reads a Python file object in threads of pyarrow's
# pools, which need Python's lock, and a process that ends right behind it takes both apart. What the program printed is
# there, so only its exit code says that it failed: a script with `set -e`, make or a service manager stops.
# Seen: pyarrow 26.0.1, Python 3.11, Linux x86-64, two busy cores: 7 of 50 processes.
# edgecap reads such tables with ParquetFile(..., pre_buffer=False).read(use_threads=False), which starts no thread: 0 of
# 60. Do the same, name a path, or end by os._exit after flushing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1
venv/bin/python - <<'PYTHON'
import pyarrow as pa
from pyarrow import parquet

print(f"pyarrow {pa.__version__}")
parquet.write_table(pa.table({name: [[str(row)] for row in range(1000)] for name in "abcdefghijklmnop"}), "table.parquet")
PYTHON
cat >threads.py <<'PYTHON'
import io
import pathlib

from pyarrow import parquet

parquet.read_table(io.BytesIO(pathlib.Path("table.parquet").read_bytes()))
PYTHON
cat >none.py <<'PYTHON'
import io
import pathlib

from pyarrow import parquet

data = io.BytesIO(pathlib.Path("table.parquet").read_bytes())
parquet.ParquetFile(data, pre_buffer=False).read(use_threads=False)
PYTHON
aborted() { # how many of $2 processes of the script $1 are aborted; $3 of them are enough
    local count=0
    for ((run = 1; run <= $2 && count < $3; run++)); do
        { venv/bin/python "$1" || count=$((count + 1)); } 2>/dev/null
    done
    printf '%s' "$count"
}
with=$(aborted threads.py 200 2)
without=$(aborted none.py 60 1)
printf 'aborted: %s with threads (of at most 200 processes), %s without (of 60)\n' "$with" "$without"
if [ "$without" != 0 ]; then
    echo "CHANGED: without threads it is aborted too"
    exit 1
fi
if [ "$with" = 0 ]; then
    echo "CHANGED: no process was aborted"
    exit 1
fi
echo "as described: a process that ends behind the start of pyarrow's threads may be aborted"
