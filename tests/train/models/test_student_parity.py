"""The student does what the published one does: numbers of the authors' implementation, and PyTorch's own
Transformer where those numbers are not at hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgecap.audio import frontend
from edgecap.audio.frontend import FrontEnd, log_mel
from edgecap_train.checkpoints.checkpoint import load_checkpoint
from edgecap_train.checkpoints.published import published_student
from edgecap_train.models.decoder import sinusoids
from edgecap_train.models.efficientnet import static_padding
from edgecap_train.models.frontend import LogMelLayer
from edgecap_train.models.search import search_samples
from edgecap_train.models.student import Student, StudentConfig
from support.published_layout import (
    DEC,
    SHARED,
    needs_shared,
    random_checkpoint,
    seeded_checkpoint,
    words,
    write_vocabulary,
)

CLIPS = ("noise_10s", "chirp_5s", "quiet_2s", "bursts_7s")
YAMNET = FrontEnd(win_length=400, power=1, f_min=125.0, f_max=7500.0, mel_slopes="mel", compression="log")


def relative(ours: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference over the largest magnitude."""
    return float(np.abs(ours.numpy() - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def fixtures() -> dict[str, np.ndarray]:
    with np.load(SHARED / "parity" / "expected-1.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    folder = tmp_path_factory.mktemp("seed-1")
    vocabulary = write_vocabulary(folder / "words.json", 4981)
    return load_checkpoint(seeded_checkpoint(folder / "student.safetensors", 1), vocabulary).student


@needs_shared
@pytest.mark.parametrize("clip", CLIPS)
class TestAuthorsNumbers:
    def test_log_mel_agrees_wherever_float32_transforms_can(self, clip: str, fixtures: dict[str, np.ndarray]) -> None:
        samples, expected = fixtures[f"{clip}/waveform"], fixtures[f"{clip}/log_mel_db"]
        for ours in (log_mel(samples, FrontEnd()), LogMelLayer(FrontEnd())(torch.from_numpy(samples)[None])[0].numpy()):
            assert ours.shape == expected.shape
            difference = np.abs(ours - expected)
            # 95 dB below the clip's loudest value the FFT library's rounding shows, another on each processor
            assert difference[expected > expected.max() - 95].max() < 1e-3
            assert difference.max() < 1e-2

    def test_memory_and_clip_embedding_agree(
        self, clip: str, fixtures: dict[str, np.ndarray], student: Student
    ) -> None:
        with torch.inference_mode():
            memory = student.encode(LogMelLayer(FrontEnd())(torch.from_numpy(fixtures[f"{clip}/waveform"])[None]))
            length = student.memory_length(torch.tensor([fixtures[f"{clip}/log_mel_db"].shape[1]]))
        assert length.tolist() == fixtures[f"{clip}/memory_length"].tolist()
        assert memory.shape[1:] == fixtures[f"{clip}/memory"].shape
        assert relative(memory[0], fixtures[f"{clip}/memory"]) < 1e-3
        assert relative(student.clip_embedding(memory, length)[0], fixtures[f"{clip}/clip_embedding"]) < 1e-3

    def test_logits_under_teacher_forcing_agree(
        self, clip: str, fixtures: dict[str, np.ndarray], student: Student
    ) -> None:
        with torch.inference_mode():
            log_mels = LogMelLayer(FrontEnd())(torch.from_numpy(fixtures[f"{clip}/waveform"])[None])
            length = torch.from_numpy(fixtures[f"{clip}/memory_length"])
            logits = student(log_mels, length, torch.from_numpy(fixtures[f"{clip}/prefix"])[None])
        assert relative(logits[0], fixtures[f"{clip}/logits"]) < 1e-3

    @pytest.mark.parametrize(("kind", "beam"), [("greedy", 1), ("beam", 3)])
    def test_tokens_are_equal(
        self, clip: str, kind: str, beam: int, fixtures: dict[str, np.ndarray], student: Student
    ) -> None:
        tokens = search_samples(student, torch.from_numpy(fixtures[f"{clip}/waveform"]), beam=beam)[0].tokens
        expected = fixtures[f"{clip}/{kind}"].tolist()
        assert list(tokens) + [2] * (len(expected) - len(tokens)) == expected


def test_the_student_has_as_many_parameters_as_published() -> None:
    student = Student(StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=4981))
    assert sum(parameter.numel() for parameter in student.encoder.parameters()) == 7_700_418
    decoder = sum(parameter.numel() for parameter in student.decoder.parameters())
    assert decoder + student.decoder.positions.numel() == 3_768_832


def test_padding_is_that_of_a_square_image_of_260() -> None:
    assert static_padding(260, 3, 2) == (0, 1)
    assert static_padding(130, 3, 2) == (0, 1)
    assert static_padding(33, 3, 2) == (1, 1)
    assert static_padding(65, 5, 2) == static_padding(17, 5, 2) == (2, 2)


LEVELLED = [FrontEnd(clip_level=5.0), replace(YAMNET, clip_level=5.0), replace(YAMNET, power=2, clip_level=-20.0)]


@pytest.mark.parametrize("front_end", [FrontEnd(), YAMNET, *LEVELLED])
def test_torch_and_numpy_log_mels_are_equal(front_end: FrontEnd) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 40_000).astype(np.float32)
    samples[10_000:15_000] = 0.0
    ours = LogMelLayer(front_end)(torch.from_numpy(samples)[None])[0].numpy()
    np.testing.assert_allclose(ours, log_mel(samples, front_end), atol=1e-3)


def test_a_clip_has_the_same_log_mel_in_any_batch() -> None:
    rng = np.random.default_rng(4)
    clips = [rng.normal(0, level, count).astype(np.float32) for level, count in ((1e-4, 20_000), (0.5, 32_123))]
    clips[1][:16_000] *= 1e-9  # only a floor of the clip's own shows this
    batch = np.full((2, 32_123), 0.7, np.float32)
    for row, clip in enumerate(clips):
        batch[row, : clip.size] = clip
    together = LogMelLayer(FrontEnd())(torch.from_numpy(batch), torch.tensor([clip.size for clip in clips])).numpy()
    for row, clip in enumerate(clips):
        frames = FrontEnd().frames(clip.size)
        alone = log_mel(clip, FrontEnd())
        np.testing.assert_allclose(together[row, :, :frames], alone, atol=1e-3)
        assert (together[row, :, frames:] == np.float32(FrontEnd().silence)).all()


@pytest.mark.parametrize("front_end", LEVELLED)
def test_a_clip_at_a_level_looks_the_same_at_any_gain_and_in_any_batch(front_end: FrontEnd) -> None:
    loud = np.random.default_rng(6).normal(0, 0.1, 20_000).astype(np.float32)
    quiet = (loud * 0.01).astype(np.float32)
    expected = log_mel(loud, front_end)
    np.testing.assert_allclose(log_mel(quiet, front_end), expected, atol=2e-2)
    batch = np.full((2, 30_000), 0.7, np.float32)
    batch[0, : loud.size], batch[1, : loud.size] = loud, quiet
    together = LogMelLayer(front_end)(torch.from_numpy(batch), torch.tensor([loud.size, loud.size])).numpy()
    np.testing.assert_allclose(together[:, :, : expected.shape[1]], [expected, expected], atol=2e-2)


@pytest.mark.parametrize("front_end", LEVELLED)
def test_the_mean_mel_power_of_a_clip_is_its_level(front_end: FrontEnd) -> None:
    spectrogram = log_mel(np.random.default_rng(7).normal(0, 0.02, 20_000).astype(np.float32), front_end)
    is_log = front_end.compression == "log"
    energy = np.exp(spectrogram) - front_end.log_offset if is_log else 10.0 ** (spectrogram / 10.0)
    mean = np.mean(np.square(energy, dtype=np.float64) if front_end.power == 1 else energy)
    assert 10 * np.log10(mean) == pytest.approx(front_end.clip_level, abs=0.01)
    silence = log_mel(np.zeros(20_000, np.float32), front_end)
    assert np.isfinite(silence).all()


def test_each_clip_has_its_own_floor() -> None:
    loud, quiet = np.zeros(16_000, np.float32), np.zeros(16_000, np.float32)
    loud[:8000] = np.random.default_rng(5).normal(0, 1, 8000)
    quiet[:8000] = loud[:8000] * 1e-4
    both = LogMelLayer(FrontEnd())(torch.from_numpy(np.stack([loud, quiet])))
    assert both[0].min() == pytest.approx(float(both[0].max()) - 120, abs=1e-3)
    assert both[1].min() == pytest.approx(-100, abs=1e-3)


def test_a_clip_shorter_than_half_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 256 samples"):
        LogMelLayer(FrontEnd())(torch.zeros(1, 256))


def test_mel_bands_are_rounded_as_torchaudio_rounds_them() -> None:
    mel = torch.linspace(0.0, float(frontend.hertz_to_mel(8000.0)), 66)
    edges = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    bins = torch.linspace(0, 8000, 257)
    slopes = edges[None, :] - bins[:, None]
    width = edges[1:] - edges[:-1]
    bank = torch.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]).clamp(min=0)
    np.testing.assert_allclose(frontend.mel_bank(FrontEnd()), bank.T.numpy(), atol=2.5e-6)


TOKENS = torch.tensor([[1, 5, 9, 4, 59], [1, 30, 30, 7, 8]])
LENGTHS = torch.tensor([9, 4])


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return random_checkpoint()


@pytest.fixture(scope="module")
def tiny(tensors: dict[str, torch.Tensor]) -> Student:
    return published_student(tensors, source="random").student


@pytest.fixture(scope="module")
def memory() -> torch.Tensor:
    return torch.randn(2, 9, 1408, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(tensors: dict[str, torch.Tensor], memory: torch.Tensor) -> torch.Tensor:
    """The same weights in `torch.nn.TransformerDecoder`, which the authors' code uses."""
    layer = nn.TransformerDecoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    decoder = nn.TransformerDecoder(layer, 2).eval()
    own = {name.removeprefix(DEC + "model."): value for name, value in tensors.items()}
    decoder.load_state_dict({name: own[name] for name in decoder.state_dict()})
    weight = {name.removeprefix(DEC): value for name, value in tensors.items() if name.startswith(DEC)}
    hidden = torch.relu(memory @ weight["attn_proj.0.weight"].T + weight["attn_proj.0.bias"])
    hidden = nn.functional.layer_norm(hidden, (256,), weight["attn_proj.3.weight"], weight["attn_proj.3.bias"])
    x = weight["word_embedding.weight"][TOKENS] * 16 + weight["pos_encoder.pe"][:5, 0]
    out = decoder(
        x,
        hidden,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(5),
        memory_key_padding_mask=torch.arange(9)[None] >= LENGTHS[:, None],
    )
    return torch.as_tensor((out @ weight["word_embedding.weight"].T).detach())


def test_teacher_forcing_gives_the_same_logits(tiny: Student, memory: torch.Tensor, expected: torch.Tensor) -> None:
    with torch.inference_mode():
        ours = tiny.decoder(TOKENS, memory, LENGTHS)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_steps_with_a_cache_give_the_same_as_whole_captions(
    tiny: Student, memory: torch.Tensor, expected: torch.Tensor
) -> None:
    keys = torch.full((2, 2, 4, 20, 64), 9.0)  # whatever lies at later positions must not matter
    values = -keys
    with torch.inference_mode():
        cross = tiny.decoder.cross_cache(memory)
        for position in range(5):
            log_probs, keys, values = tiny.decoder.step(TOKENS[:, position], position, LENGTHS, keys, values, *cross)
            torch.testing.assert_close(log_probs, expected[:, position].log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_rows_may_share_one_memory(tiny: Student, memory: torch.Tensor) -> None:
    keys = values = torch.zeros(2, 3, 4, 20, 64)
    tokens = torch.tensor([1, 5, 9])
    with torch.inference_mode():
        shared = tiny.decoder.cross_cache(memory[:1])
        own = tiny.decoder.cross_cache(memory[:1].expand(3, -1, -1))
        one = tiny.decoder.step(tokens, 0, LENGTHS[:1], keys, values, *shared)[0]
        each = tiny.decoder.step(tokens, 0, LENGTHS[:1].expand(3), keys, values, *own)[0]
    torch.testing.assert_close(one, each)


def test_memory_beyond_its_length_is_never_seen(tiny: Student, memory: torch.Tensor) -> None:
    spoiled = memory.clone()
    spoiled[1, 4:] = 1e4
    with torch.inference_mode():
        before = tiny.decoder(TOKENS, memory, LENGTHS)
        after = tiny.decoder(TOKENS, spoiled, LENGTHS)
    torch.testing.assert_close(before, after)


def test_memory_length_is_floored_and_never_nothing() -> None:
    student = Student(StudentConfig(encoder="yamnet", front_end=FrontEnd(), vocabulary_size=8))
    assert student.memory_length(torch.tensor([1001, 501, 63, 31, 1])).tolist() == [31, 15, 1, 1, 1]


def test_a_clip_too_short_for_one_memory_frame_is_padded_with_zeros(tiny: Student) -> None:
    samples = torch.randn(800, generator=torch.Generator().manual_seed(6)) * 0.1
    padded = nn.functional.pad(samples, (0, 4_960 - 800))
    for beam in (1, 3):
        short, full = (search_samples(tiny, clip, beam=beam) for clip in (samples, padded))
        assert short == full
        assert np.isfinite(short[0].score)


@pytest.mark.parametrize("encoder", ["efficientnet-b2", "yamnet"])
def test_clips_of_any_length_are_taken_and_every_weight_learns(encoder: str) -> None:
    student = Student(StudentConfig(encoder=encoder, front_end=FrontEnd(), vocabulary_size=8)).train()
    for frames in (40, 333):
        log_mels = torch.randn(2, 64, frames)
        lengths = student.memory_length(torch.tensor([frames, frames // 2]))
        logits = student(log_mels, lengths, torch.tensor([[1, 5, 2], [1, 4, 0]]))
        assert logits.shape == (2, 3, 8)
        logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_positions_are_sinusoids_until_a_checkpoint_says_otherwise() -> None:
    table = sinusoids(100, 256)
    student = Student(StudentConfig(encoder="yamnet", front_end=FrontEnd(), vocabulary_size=8))
    assert torch.equal(student.decoder.positions, table)
    assert table[0, :2].tolist() == [0.0, 1.0]
    assert table[3, 0] == pytest.approx(np.sin(3))
    tensors = random_checkpoint(len(words(60)))
    imported = published_student(tensors, source="random").student
    assert torch.equal(imported.decoder.positions, tensors[DEC + "pos_encoder.pe"][:, 0])
