"""The teachers: HTSAT-BART against the authors' numbers, its checkpoints in every form, and the one interface."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgecap.errors import AudioError, CheckpointError, MissingDependencyError
from edgecap_train.teachers import htsat_frontend as front
from edgecap_train.teachers.bart_tokenizer import BartWords, read_bart_words
from edgecap_train.teachers.consensus import ConsensusConfig, ConsensusIndex
from edgecap_train.teachers.htsat_bart import HtsatBart, HtsatBartConfig, HtsatLogMel
from edgecap_train.teachers.htsat_checkpoint import ACADEMIC_ONLY, TIED, load_htsat_bart, teacher_slots
from edgecap_train.teachers.tagger import Tagger
from edgecap_train.teachers.teacher import ConsensusTeacher, HtsatBartTeacher, Teacher
from edgecap_train.text.captions import LabelledCaption
from support.published_layout import SHARED, needs_shared
from support.signals import noise

pytest.importorskip("transformers", reason="the extra edgecap[teacher] is not installed")

SMALL = HtsatBartConfig(
    patch_width=16,
    depths=(1, 1, 2, 1),
    audio_heads=(1, 2, 4, 8),
    vocabulary_size=40,
    d_model=32,
    layers=2,
    heads=4,
    feed_forward=48,
)
EMBEDDING = "decoder.model.shared.weight"


@pytest.fixture(scope="module")
def small() -> HtsatBart:
    torch.manual_seed(3)
    return HtsatBart(SMALL).eval()


@pytest.fixture(scope="module")
def tensors(small: HtsatBart) -> dict[str, torch.Tensor]:
    """The small teacher's weights in the WavCaps layout."""
    own = small.state_dict()
    return {
        slot.name: torch.cat([own[part] for part in slot.parts]) if len(slot.parts) > 1 else own[slot.parts[0]]
        for slot in teacher_slots(small)
    }


def written(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    path = folder / "teacher.safetensors"
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_htsat_bart(path, SMALL)
    assert "\n" not in str(error.value)
    return str(error.value)


def relative(actual: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.abs(actual.numpy() - expected).max() / np.abs(expected).max())


@needs_shared
def test_the_teacher_answers_as_the_authors_implementation(tmp_path: Path) -> None:
    path = tmp_path / "seed1.safetensors"
    subprocess.run([sys.executable, SHARED / "parity" / "make_teacher.py", "--seed", "1", path], check=True)
    teacher = load_htsat_bart(path).teacher
    path.unlink()
    fixtures = np.load(SHARED / "parity" / "teacher-expected-1.npz")
    for clip in ("noise", "bursts"):
        expected = {key.removeprefix(f"{clip}/"): fixtures[key] for key in fixtures if key.startswith(clip)}
        with torch.inference_mode():
            frames = teacher.frames(torch.from_numpy(expected["waveform"])[None])
            memory = teacher.memory(frames)
            logits = teacher.logits(memory, torch.from_numpy(expected["prefix"])[None])
        assert relative(frames[0], expected["frames"]) < 1e-4
        assert relative(teacher.embedding(frames)[0], expected["embedding"]) < 1e-4
        assert relative(memory[0, ::32], expected["memory"]) < 1e-4
        assert relative(logits[0, :, :4_000], expected["logits"]) < 1e-4
        assert teacher.search(memory)[0].tolist() == expected["beam"].tolist()


@needs_shared
def test_every_published_tensor_is_placed_or_known_to_be_needless() -> None:
    lines = (SHARED / "parity" / "teacher_keys.tsv").read_text().splitlines()
    published = {
        name: tuple(int(part) for part in shape.split(",") if part)
        for name, shape in (line.split("\t") for line in lines)
    }
    slots = teacher_slots(HtsatBart(blank=True))
    needless = ("attn_mask", "relative_position_index", "audio_feats_extractor", "tscam_conv", "audio_enc.head.")
    needed = {
        name: shape
        for name, shape in published.items()
        if name not in TIED and not any(part in name for part in needless)
    }
    assert {slot.name: slot.shape for slot in slots} == needed
    assert [slot.name for slot in slots] == list(needed)


def test_the_teacher_has_the_published_number_of_parameters() -> None:
    parameters = sum(parameter.numel() for parameter in HtsatBart(blank=True).parameters())
    audioset_head, tables = 527 * (768 * 6 + 1) + 527 * 528, 513 * (2 * 1024 + 64)
    assert parameters + audioset_head + tables == 171_336_151
    assert parameters == pytest.approx(171_336_151, rel=0.03)


def test_both_front_ends_give_the_same_spectrogram() -> None:
    samples = noise(4.0, front.SAMPLE_RATE)
    ours = front.log_mel(samples)
    assert ours.shape == (1001, 64)
    theirs = HtsatLogMel()(torch.from_numpy(samples)[None])[0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert ours[-100:].max() == pytest.approx(-100.0)


def test_mel_bands_have_area_one_and_straddle_their_edges() -> None:
    bank = front.slaney_mel_bank()
    assert bank.shape == (64, 513)
    area = bank[20:].sum(axis=1) * front.SAMPLE_RATE / front.N_FFT
    np.testing.assert_allclose(area, 1.0, atol=0.1)
    used = np.flatnonzero(bank.any(axis=0)) * front.SAMPLE_RATE / front.N_FFT
    assert used.min() >= front.F_MIN
    assert used.max() <= front.F_MAX
    hertz = np.array([100.0, 999.0, 1_000.0, 5_000.0])
    np.testing.assert_allclose(front.slaney_to_hertz(front.hertz_to_slaney(hertz)), hertz)


def test_a_clip_of_another_length_is_cut_or_filled_with_silence() -> None:
    long = noise(11.0, front.SAMPLE_RATE)
    assert np.array_equal(front.fit_clip(long), long[: front.CLIP_SAMPLES])
    assert not front.fit_clip(long[:1_000])[1_000:].any()
    with pytest.raises(ValueError, match="one axis"):
        front.fit_clip(np.zeros((2, 2), np.float32))


def test_safetensors_and_pickles_with_or_without_wrapping_give_the_same_teacher(
    small: HtsatBart, tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(
        {"model": {"module." + name: tensor for name, tensor in tensors.items()}, "epoch": 3}, tmp_path / "wavcaps.pt"
    )
    tied = dict.fromkeys(TIED, tensors[EMBEDDING])
    for path in (written(tmp_path, {**tensors, **tied}), tmp_path / "wavcaps.pt"):
        saved = load_htsat_bart(path, SMALL)
        assert not saved.teacher.training
        assert saved.notes == (ACADEMIC_ONLY,)
        for name, tensor in small.state_dict().items():
            assert torch.equal(saved.teacher.state_dict()[name], tensor), name


def test_the_first_missing_tensor_is_named(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    slots = list(tensors)
    gone = (slots[9], slots[30])
    text = complaint(written(tmp_path, {name: tensor for name, tensor in tensors.items() if name not in gone}))
    assert f"tensor {slots[9]} is missing (2 of {len(slots)} are)" in text


def test_a_misshapen_tensor_is_named_with_both_shapes(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    name = "encoder.audio_enc.layers.0.blocks.0.attn.qkv.weight"
    text = complaint(written(tmp_path, {**tensors, name: torch.zeros(3, 4)}))
    assert f"tensor {name} has shape (3, 4) where (48, 16) is needed" in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("enc_to_dec_proj.bias", torch.full((32,), torch.nan), "NaN or infinity"),
        ("enc_to_dec_proj.bias", torch.zeros(32, dtype=torch.int64), "floating point is needed"),
        ("decoder.lm_head.weight", torch.zeros(40, 32), "to which BART ties it"),
        ("something.else", torch.zeros(1), "is not part of HTSAT-BART"),
    ],
)
def test_a_tensor_that_cannot_be_used_is_named(
    tensors: dict[str, torch.Tensor], tmp_path: Path, name: str, value: torch.Tensor, expected: str
) -> None:
    text = complaint(written(tmp_path, {**tensors, name: value}))
    assert name in text
    assert expected in text


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"model": Path}, tmp_path / "code.pt")
    assert "wants to run code" in complaint(tmp_path / "code.pt")


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"\.\[teacher\]"):
        HtsatBart(SMALL)


def test_beam_search_keeps_the_limits_of_the_published_one(small: HtsatBart) -> None:
    with torch.inference_mode():
        memory = small.memory(small.frames(torch.from_numpy(noise(2.0, front.SAMPLE_RATE))[None]))
    assert memory.shape == (1, 1024, 32)
    best = small.search(memory, count=3)
    assert len(best) == 3
    assert 2 <= best.shape[1] <= 30
    assert best[:, 0].tolist() == [2, 2, 2]
    forced = small.search(memory, least=8, most=8)
    assert (forced.shape, forced[0, -1].item()) == ((1, 8), 2)


def test_both_teachers_embed_and_caption_a_clip(small: HtsatBart) -> None:
    words = BartWords(("<s>", "<pad>", "</s>", "<unk>", *(f"\u0120word{n}" for n in range(36))))
    captions = [LabelledCaption(sound, ("a", "dog", sound), ("Dog",)) for sound in ("barks", "howls")]
    tagger = Tagger().eval()
    index = ConsensusIndex(captions, ["Dog"] + [f"class {n}" for n in range(526)], ConsensusConfig(neighbours=1))
    teachers: list[Teacher] = [HtsatBartTeacher(small, words), ConsensusTeacher(tagger, index)]
    for teacher in teachers:
        samples = noise(0.4, teacher.sample_rate)
        np.testing.assert_allclose(teacher.embedding(samples), teacher.frames(samples).mean(0), atol=1e-5)
        texts = teacher.captions(samples, most=1)
        assert len(texts) == 1
        assert isinstance(texts[0], str)
        for bad in (np.zeros((2, 100), np.float32), np.zeros(0, np.float32), np.full(100, np.nan, np.float32)):
            with pytest.raises(AudioError, match="one channel"):
                teacher.embedding(bad)
    assert teachers[1].captions(noise(1.0, 32_000)) in {("a dog barks",), ("a dog howls",)}


def test_the_teacher_says_what_it_lacks_to_caption(small: HtsatBart) -> None:
    with pytest.raises(CheckpointError, match=r"vocab\.json"):
        HtsatBartTeacher(small).captions(noise(1.0))


def test_text_of_tokens_is_bytes_put_together(tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    tokens = ("<s>", "<pad>", "</s>", "<unk>", "A", "\u0120dog", "\u0120caf", "\u00c3", "\u00a9")
    path.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    words = read_bart_words(path, len(tokens))
    assert words.text([2, 0, 4, 5, 6, 7, 8, 2, 1]) == "A dog café"
    with pytest.raises(CheckpointError, match="not a vocabulary of 12 tokens"):
        read_bart_words(path, 12)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_bart_words(path, 12)


def test_building_the_teacher_prints_nothing() -> None:
    program = (
        "from edgecap_train.teachers.htsat_bart import HtsatBart, HtsatBartConfig\n"
        "HtsatBart(HtsatBartConfig(), blank=True)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
