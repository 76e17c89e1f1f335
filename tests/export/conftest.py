"""What several files of these tests export, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecap.cli import run
from support.published_layout import seeded_checkpoint, write_vocabulary


@pytest.fixture(scope="session")
def imported_parity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the parity fixtures' checkpoint, words.json and the bundle "imported" that `import` made of them.

    Do not change it.
    """
    folder = tmp_path_factory.mktemp("parity")
    checkpoint = seeded_checkpoint(folder / "model.safetensors", 1)
    vocabulary = write_vocabulary(folder / "words.json", 4981)
    assert run(["import", str(checkpoint), "--vocabulary", str(vocabulary), "-o", str(folder / "imported")]) == 0
    return folder
