"""The published teacher, HTSAT-BART: a Swin transformer over log-mel, one linear layer, and BART-base.

171,336,151 parameters as published (Mei et al. 2023, arXiv 2303.17395), of which 167,545,496 caption and are
here; the rest are HTSAT's AudioSet head (2,707,199) and its STFT and mel matrices (1,083,456), which this front end
computes. The networks are transformers' own `ClapAudioModel` (fusion off: the same Swin as HTSAT under other names)
and `BartForConditionalGeneration`. Weights come from `edgecap_train.teachers.htsat_checkpoint`.

WavCaps' weights are for academic use only. edgecap holds none of them and never ships them.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from edgecap.errors import MissingDependencyError
from edgecap.util.limits import MOST_WEIGHTS, check_product, check_transformer
from edgecap.util.limits.bounded import Bands, Heads, Layers, Width, Words
from edgecap.util.stderr import silent_library
from edgecap_train.teachers import htsat_frontend as front

if TYPE_CHECKING:
    from collections.abc import Callable

DISTINCT_FRAMES = 32
"""HTSAT's frames of ten seconds."""
POSITIONS = 1024
"""Each frame is repeated 32 times before BART's encoder, as published."""
BEAM, LEAST_TOKENS, MOST_TOKENS = 3, 2, 30
"""Published search; the tokens count the start token and the end token."""
START, PAD, END = 2, 1, 2
"""BART's ids; a caption starts with its end token."""


@dataclass(frozen=True, kw_only=True)
class HtsatBartConfig:
    """Shape of a teacher. The defaults are the published one's; tests take smaller ones."""

    patch_width: Bands = 96
    """Channels of HTSAT's first stage; each later stage has twice as many."""
    depths: tuple[Layers, Layers, Layers, Layers] = (2, 2, 6, 2)
    """Blocks of HTSAT's stages."""
    audio_heads: tuple[Heads, Heads, Heads, Heads] = (4, 8, 16, 32)
    vocabulary_size: Words = 50_265
    d_model: Width = 768
    layers: Layers = 6
    """Of BART's encoder, and again of its decoder."""
    heads: Heads = 12
    feed_forward: Width = 3_072

    def __post_init__(self) -> None:
        check_transformer(self.vocabulary_size, self.d_model, 2 * self.layers, self.feed_forward)
        stages = sum(depth * 12 * (self.patch_width << stage) ** 2 for stage, depth in enumerate(self.depths))
        check_product("HTSAT", MOST_WEIGHTS, stages)

    @property
    def embedding_dim(self) -> int:
        """Width of HTSAT's frames and of the clip embedding."""
        return 8 * self.patch_width


class HtsatLogMel(nn.Module):
    """`htsat_frontend.log_mel` for a batch, on any device."""

    window: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(front.N_FFT), persistent=False)
        self.register_buffer("bank", torch.from_numpy(front.slaney_mel_bank().T.copy()), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """`samples` (B, n) float32 in [-1, 1] at 32 kHz, cut or zero-filled to 10 s → (B, 1, 1001, 64) decibels."""
        samples = samples[:, : front.CLIP_SAMPLES]
        samples = nn.functional.pad(samples, (0, front.CLIP_SAMPLES - samples.shape[1]))
        spectrum = torch.stft(samples, front.N_FFT, front.HOP, window=self.window, center=True, return_complex=True)
        power = torch.view_as_real(spectrum).square().sum(-1).transpose(1, 2)
        return 10.0 * torch.log10((power @ self.bank).clamp(min=front.AMIN))[:, None]


class HtsatBart(nn.Module):
    """32 kHz samples to frames, an embedding, a memory, logits and beam-searched tokens."""

    def __init__(self, config: HtsatBartConfig | None = None, *, blank: bool = False) -> None:
        """Random weights by transformers' own initialisation, or uninitialised for `blank`.

        Raises MissingDependencyError without transformers.
        """
        super().__init__()
        self.config = config = config or HtsatBartConfig()
        networks = _networks(config, blank)
        self.log_mel = HtsatLogMel()
        self.audio: nn.Module = networks[0]
        self.projection = nn.Linear(config.embedding_dim, config.d_model)
        self.bart: nn.Module = networks[1]

    def frames(self, samples: Tensor) -> Tensor:
        """`samples` (B, n) float32 in [-1, 1] at 32 kHz → HTSAT's distinct frames (B, 32, embedding_dim)."""
        return self.frames_of(self.log_mel(samples))

    def frames_of(self, log_mel: Tensor) -> Tensor:
        """The same from log-mel spectrograms (B, 1, 1001, 64)."""
        maps = cast(Tensor, self.audio(input_features=log_mel).last_hidden_state)
        return maps.mean(dim=2).transpose(1, 2)

    def embedding(self, frames: Tensor) -> Tensor:
        """Clip embedding: frames (B, 32, embedding_dim) → their mean, (B, embedding_dim)."""
        return frames.mean(dim=1)

    def memory(self, frames: Tensor) -> Tensor:
        """BART's encoder over the frames, each repeated to 1,024 positions in all: → (B, 1024, d_model)."""
        repeated = frames.repeat_interleave(POSITIONS // frames.shape[1], dim=1)
        encoder = cast(Any, self.bart).model.encoder
        return cast(Tensor, encoder(inputs_embeds=self.projection(repeated)).last_hidden_state)

    def logits(self, memory: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: memory (B, S, d_model), `tokens` (B, N), the start token first → (B, N, vocabulary)."""
        bart = cast("Callable[..., Any]", self.bart)
        return cast(Tensor, bart(encoder_outputs=_encoded(memory), decoder_input_ids=tokens, use_cache=False).logits)

    @torch.inference_mode()
    def search(
        self, memory: Tensor, *, beam: int = BEAM, least: int = LEAST_TOKENS, most: int = MOST_TOKENS, count: int = 1
    ) -> Tensor:
        """Beam search by transformers' `generate`, with the caches of keys and values that it keeps.

        memory (B, S, d_model) → token ids (B x count, N), the `count` best of each clip, best first, start token
        included and padded with 1; N is at most `most`, and the last of `most` tokens is the end token.
        """
        generated = cast(Any, self.bart).generate(
            encoder_outputs=_encoded(memory),
            num_beams=beam,
            min_length=least,
            max_length=most,
            do_sample=False,
            num_return_sequences=count,
            forced_eos_token_id=END,
            length_penalty=1.0,
            early_stopping=False,
        )
        return cast(Tensor, generated)


def _networks(config: HtsatBartConfig, blank: bool) -> tuple[Any, Any]:
    """HTSAT and BART of transformers; `blank` saves the seconds that drawing 171 M numbers takes."""
    try:
        with silent_library():  # torchao, where it is installed with ExecuTorch, lists what it cannot load
            from transformers import BartConfig, BartForConditionalGeneration, ClapAudioConfig, ClapAudioModel
            from transformers.initialization import no_init_weights
    except ImportError as error:
        raise MissingDependencyError.for_extra("the teacher HTSAT-BART", "teacher") from error
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=config.patch_width,
        depths=list(config.depths),
        enable_fusion=False,
        num_attention_heads=list(config.audio_heads),
        hidden_size=config.embedding_dim,
        spec_size=256,
        window_size=8,
        num_mel_bins=front.N_MELS,
        patch_size=4,
        patch_stride=[4, 4],
    )
    bart = BartConfig(
        vocab_size=config.vocabulary_size,
        d_model=config.d_model,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.feed_forward,
        decoder_ffn_dim=config.feed_forward,
        max_position_embeddings=POSITIONS,
        decoder_start_token_id=START,
        pad_token_id=PAD,
        eos_token_id=END,
        forced_eos_token_id=END,
    )
    with no_init_weights() if blank else nullcontext():
        networks = ClapAudioModel(audio), BartForConditionalGeneration(bart)
    networks[1].tie_weights()  # left out with the initialisation
    return networks


def _encoded(memory: Tensor) -> Any:  # noqa: ANN401 - transformers' own class
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=cast(Any, memory))
