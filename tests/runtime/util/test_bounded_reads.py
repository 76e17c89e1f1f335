"""Nothing is read without a bound: what is, comes from the package itself or the kernel, and is listed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgecap

PACKAGE = Path(edgecap.__file__).parent
WHOLE = {"read_text", "read_bytes", "readlines", "readall"}
"""Methods that read all there is."""
WITHOUT_A_NUMBER = {"read", "readline", "read1", "communicate", "fromfile"}
"""Methods that do so where they are given no number."""
LOADERS = {"json.load", "pickle.load", "tomllib.load", "np.load", "np.loadtxt", "np.genfromtxt"}
BOUNDS = {"count", "max_length", "out", "size"}
"""Names of arguments that bound what is read."""
UNPACKERS = {"gzip.decompress", "zlib.decompress", "lzma.decompress", "bz2.decompress"}
ALLOWED = {
    "audio/capture.py: sys.stdin.readline()": "a line that edgecap writes to its own process",
    "audio/sound_cards.py: (process / 'comm').read_text(encoding='utf-8', errors='replace')": "the kernel's, 16 bytes",
    "audio/sound_cards.py: (root / 'proc/asound/pcm').read_text(encoding='utf-8', errors='replace')": "the kernel's",
    "bundle/catalogue.py: BUILT_IN.read_bytes()": "the package's own",
    "bundle/models.py: DEFAULT_FILE.read_text(encoding='utf-8')": "the package's own",
    "cli/taught/recording.py: microphone.ring.read()": "a ring buffer, which is bounded",
    "cluster/session.py: sh.communicate()": "it has no pipe to read from",
    "doctor.py: opened.ring.read()": "a ring buffer, which is bounded",
    "live/sources/microphone_source.py: microphone.ring.read()": "a ring buffer, which is bounded",
    "live/thermal.py: path.read_text(encoding='ascii')": "the kernel's, a number",
    "pull/template.py: gzip.decompress(path.read_bytes())": "the package's own",
    "pull/template.py: path.read_bytes()": "the package's own",
    "sounds/archive.py: np.load(file, allow_pickle=False)": "an archive whose sizes were added up before",
    "web/assets.py: path.read_bytes()": "the package's own",
}


def unbounded(source: str) -> Iterator[str]:
    """Calls that read whatever there is, as source text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, full_name = node.func.attr, ast.unparse(node.func)
        named = bool(BOUNDS & {keyword.arg for keyword in node.keywords})
        bounded = named or (bool(node.args) and name != "fromfile")
        minus = bool(node.args) and ast.unparse(node.args[0]) in {"-1", "None"}
        if name in WHOLE or full_name in LOADERS | UNPACKERS or (name in WITHOUT_A_NUMBER and (not bounded or minus)):
            yield ast.unparse(node)


def test_nothing_is_read_without_a_bound() -> None:
    calls = {
        f"{path.relative_to(PACKAGE).as_posix()}: {call}"
        for path in PACKAGE.rglob("*.py")
        for call in unbounded(path.read_text(encoding="utf-8"))
    }
    assert sorted(calls - ALLOWED.keys()) == []  # use edgecap.util.files.read_at_most and a number of util/limits
    assert sorted(ALLOWED.keys() - calls) == []


@pytest.mark.parametrize(
    "call",
    [
        "Path(name).read_bytes()",
        "path.read_text('utf-8')",
        "file.read()",
        "file.read(-1)",
        "file.readline()",
        "json.load(file)",
        "response.read()",
        "zlib.decompress(data)",
        "process.communicate(timeout=3)",
        "np.fromfile(path, np.float32)",
    ],
)
def test_a_read_without_a_bound_is_seen(call: str) -> None:
    assert list(unbounded(f"def f():\n    return {call}\n"))


@pytest.mark.parametrize("call", ["file.read(10)", "read_at_most(path, 10)", "file.readline(MOST)", "json.loads(text)"])
def test_a_read_with_a_bound_is_none_of_them(call: str) -> None:
    assert list(unbounded(f"def f():\n    return {call}\n")) == []
