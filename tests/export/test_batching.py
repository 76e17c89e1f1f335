"""Batches of windows give the captions of each window alone, in every runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from edgecap.batching import BatchCaptioner
from edgecap.caption import Caption
from edgecap.captioner import Captioner
from edgecap.inference.session import open_session
from support.exports.exported import SOUNDS, Export
from support.small_student import FRONT_END


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sounds of several lengths."""
    folder, paths = tmp_path_factory.mktemp("sounds"), list[Path]()
    for number, sound in enumerate((*SOUNDS, *SOUNDS)):
        path = folder / f"{number}.wav"
        soundfile.write(path, sound[: sound.size * (8 - number % 7) // 8], FRONT_END.sample_rate, subtype="FLOAT")
        paths.append(path)
    return paths


def tokens(captions: list[Caption]) -> list[list[tuple[int, ...]]]:
    return [[beam.tokens for beam in caption.beams] for caption in captions]


def alone_and_in_batches(captioner: Captioner, files: list[Path], batch: int) -> tuple[list[Caption], list[Caption]]:
    alone = [caption for file in files for caption in captioner.caption_file(file)]
    done = list(BatchCaptioner(captioner, batch).caption_sounds((file, file) for file in files))
    assert [each.key for each in done] == files
    return alone, [caption for each in done for caption in each.captions]


@pytest.mark.parametrize("batch", [2, 4, 16])
def test_searches_in_one_call_give_the_same_tokens_in_float(exported: Export, files: list[Path], batch: int) -> None:
    bundle = exported("onnx", "fp32", search="in-graph").bundle
    alone, batched = alone_and_in_batches(Captioner(bundle, open_session(bundle, 1)), files, batch)
    assert tokens(batched) == tokens(alone)
    assert [one.score for one in batched] == pytest.approx([one.score for one in alone], abs=1e-5)


@pytest.mark.parametrize(
    ("runtime", "search"),
    [("onnx", "outside"), ("litert", "outside"), ("litert", "in-graph"), ("executorch", "in-graph")],
)
def test_a_runtime_without_searches_in_one_call_searches_one_by_one(
    exported: Export, runtime: str, search: str, files: list[Path]
) -> None:
    bundle = exported(runtime, "fp32", search=search).bundle
    alone, batched = alone_and_in_batches(Captioner(bundle, open_session(bundle, 1)), files, 4)
    assert batched == alone
