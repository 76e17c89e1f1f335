"""Two hundred files of all kinds in one archive, and what the captioner says of each alone."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from edgecap.captioner import Captioner
from edgecap.errors import AudioError
from edgecap_bench.scaling.many_files import write_sounds
from support.archives.parts import archived, rows_of


def test_files_of_all_kinds_are_captioned_as_alone_or_have_a_reason(
    captioner: Captioner, tiny_folder: Path, tmp_path: Path
) -> None:
    write_sounds(tmp_path / "sounds", 200)
    summary = archived(tmp_path / "sounds", out=tmp_path / "out", model=tiny_folder, files=64)
    assert (summary.files, summary.shards, summary.failures) == (200, 4, 10)
    texts, failures = defaultdict(list), {row["source"]: row["reason"] for row in rows_of(tmp_path / "out", "failures")}
    for row in rows_of(tmp_path / "out"):
        texts[row["source"]].append((row["start"], row["end"], row["caption"]))
    alone, reasons = defaultdict(list), dict[str, str]()
    for path in sorted((tmp_path / "sounds").rglob("*.*")):
        try:
            for caption in captioner.caption_file(path):
                alone[str(path)].append((caption.start, caption.end, caption.text))
        except AudioError as error:
            reasons[str(path)] = str(error)
    assert (texts, failures) == (alone, reasons)
