"""ExecuTorch's programs search by themselves, and give the captions of edgecap's own search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgecap.bundle.bundle import load_bundle, read_manifest
from edgecap.bundle.manifest import Precision
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, ToleranceError
from edgecap.inference.executorch_session import import_executorch
from edgecap.inference.session import open_session
from edgecap_export.executorch import search as executorch_search
from edgecap_export.executorch.search import forced
from edgecap_export.graphs.torch_session import TorchSession
from edgecap_export.graphs.verify import TOLERANCES, verify_session
from edgecap_train.models.search import SPECIALS
from support.exports.exported import PRECISIONS, SOUNDS, Export
from support.exports.searches import (
    FRAMES,
    Sessions,
    check_every_beam,
    check_ties,
    ends_early,
    memories,
    sessions,
    twins,
)
from support.small_student import FRONT_END, WINDOW, small_student


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    """Sessions of a student whose captions end early."""
    return sessions(tmp_path_factory.mktemp("pair"), "executorch", ends_early)


@pytest.mark.parametrize("beam", [1, 2, 3])
def test_every_beam_is_that_of_the_search_outside(beam: int, pair: Sessions) -> None:
    check_every_beam(pair, beam, 60)
    for encoded in memories(60, seed=beam):
        assert len(pair[1].search(encoded, beam)) <= 3


def test_more_beams_than_the_program_has_are_refused_in_one_line(pair: Sessions) -> None:
    with pytest.raises(BundleError, match="at most 3 beams, not 4; use a smaller --beam"):
        pair[1].search(memories(1)[0], 4)


def test_several_clips_have_the_captions_of_each_alone(pair: Sessions) -> None:
    clips = memories(5)
    together = pair[1].search_several(clips, 3)
    assert together == [pair[1].search(clip, 3) for clip in clips]
    assert len({best[0].tokens for best in together}) > 1


def test_ties_go_to_the_lower_row_and_token(tmp_path: Path) -> None:
    check_ties(sessions(tmp_path, "executorch", twins), 3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_agrees_with_pytorch_and_says_where_it_searches(precision: Precision, exported: Export) -> None:
    made = exported("executorch", precision, search="in-graph")
    manifest = read_manifest(made.bundle.folder)
    assert (manifest.format_version, manifest.decoder.search, manifest.decoder.beams) == (3, "in-graph", 3)
    session = open_session(load_bundle(made.bundle.folder), 1)
    (*_, scores) = verify_session(made.request.student, session, WINDOW, TOLERANCES[precision], steps=False)
    assert scores.output == "scores"
    with pytest.raises(BundleError, match=r"no single steps; export the model with --search outside"):
        session.decoder(memories(1)[0], 3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_captions_are_those_of_the_bundle_that_is_searched_from_outside(precision: Precision, exported: Export) -> None:
    inside, outside = (
        Captioner.load(exported("executorch", precision, search=place).bundle.folder)
        for place in ("in-graph", "outside")
    )
    for sound in SOUNDS:
        one, other = (captioner.caption(sound, FRONT_END.sample_rate) for captioner in (inside, outside))
        assert [beam.tokens for beam in one.beams] == [beam.tokens for beam in other.beams]
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_the_program_alone_gives_the_captions_and_nothing_of_a_search_is_left_for_the_next(exported: Export) -> None:
    folder = exported("executorch", "fp32", search="in-graph").bundle.folder
    _, library = import_executorch()
    program = library._load_program(str(folder / "model.pte"))
    method = program.load_method("decode")
    clips = [*memories(6), *memories(6)[::-1]]
    for clip in clips:
        cross = (torch.from_numpy(array)[None] for array in (clip.cross_keys, clip.cross_values))
        tokens, scores = method.call([torch.tensor([clip.memory_length]), torch.tensor([3]), *cross])
        expected = Captioner.load(folder, threads=1).decode(clip, 3)
        for row, score, beam in zip(tokens[0].tolist(), scores[0], expected, strict=True):
            assert tuple(row[: len(beam.tokens)]) == beam.tokens
            assert set(row[len(beam.tokens) :]) <= {SPECIALS.pad}
            assert float(score) == pytest.approx(beam.score)


def test_the_steps_are_quantised_run_by_xnnpack_and_stored_once(exported: Export) -> None:
    for precision in PRECISIONS:
        lowered = exported("executorch", precision, search="in-graph").lowered
        products = lowered.operators[f"decode: linear ({'int8' if precision == 'int8' else 'float'})"]
        assert products == 2 * 6 + 1
        left = {name.split(": ")[1] for name in lowered.not_delegated}
        assert not left & {"linear", "bmm", "mm", "_softmax"}
    sizes = [len(exported("executorch", "fp32", search=place).program) for place in ("in-graph", "outside")]
    assert sizes[0] < 1.2 * sizes[1]


def test_mixed_up_beams_show_in_the_comparison_with_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executorch_search, "own_slots", lambda: torch.zeros(3, 3))  # beams read one another's words
    reference, session = sessions(tmp_path, "executorch", lambda student: None)
    assert isinstance(reference, TorchSession)
    with pytest.raises(ToleranceError, match="'scores'"):
        verify_session(small_student(1), session, WINDOW, TOLERANCES["fp32"], steps=False)


def test_log_probabilities_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    for session in sessions(tmp_path, "executorch", lambda student: student.decoder.positions.fill_(torch.nan)):
        with pytest.raises(BundleError, match="are not numbers"):
            session.search(memories(1)[0], 3)


def test_a_program_can_be_forced_to_a_number_of_tokens(exported: Export, tmp_path: Path) -> None:
    made = exported("executorch", "fp32", search="in-graph")
    (tmp_path / "forced.pte").write_bytes(forced(made.program, 5))
    _, library = import_executorch()
    program = library._load_program(str(tmp_path / "forced.pte"))
    method = program.load_method("decode")
    for clip in memories(4):
        cross = (torch.from_numpy(array)[None] for array in (clip.cross_keys, clip.cross_values))
        tokens, scores = method.call([torch.tensor([FRAMES]), torch.tensor([3]), *cross])
        assert np.isfinite(scores.numpy()).all()
        assert (tokens[..., 5:] == SPECIALS.pad).all()
        assert (tokens[..., :5] != SPECIALS.pad).any()
