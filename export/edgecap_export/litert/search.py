"""The decoder with its beam search as a LiteRT signature: the memory of a clip in, its captions out, one call.

Three graphs make it. PyTorch modules give two, which litert-torch converts like any other: what is before the search
(`SearchStart`, the signature "start") and one step of it (`SearchStep`, the signature "decode" until then; being flat
it is quantised like any other graph). `looped` puts the step into a `WHILE` behind the start; what comes out of the
loop are the captions. The choice is that of `edgecap.inference.decoding`, whose rules are not repeated here.

The number of rows is fixed at `EXPORT_BEAMS`: with fewer beams the rows behind them have a sum of minus infinity. Keys
and values stay where they were written, one slot for each position and row, and a row reads the slots of its own past,
which a sum added to the attention's scores (0, or minus infinity) says. So no step copies a cache to change rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgecap.inference.decoding import FINISHED_SUM
from edgecap_export.graphs.onnx_export import EXPORT_BEAMS
from edgecap_export.litert.loop import looped
from edgecap_train.models.decoder import DecoderLayer, attention, length_mask
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student

ROWS = EXPORT_BEAMS
START, STEP = "start", "decode"
"""Signatures of the two graphs before they are put together."""
FORCED = "end", "most"
RESULTS = ("tokens", "scores")
SEARCH_INPUTS = ("memory_length", "beams", "cross_keys", "cross_values")
STATES = ("goes_on", "position", "token", "sums", "past", "sequences", "ended", *RESULTS)
"""What a step hands to the next one: 1 where there is a next one (1,); the position (1,); the token of each row
(rows,); the rows' sums (rows,); the sums added to the attention's scores (rows, slots); the rows' tokens (rows,
max_tokens); how many have ended (1,); the best captions so far (rows, max_tokens) and their scores (rows,). Then
each layer's keys and values (heads, slots, head_dim)."""


def state_names(layers: int) -> tuple[str, ...]:
    """What a step takes and gives."""
    return (*STATES, *(f"self_{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")))


def fixed_names(layers: int) -> tuple[str, ...]:
    """What a step takes and is the same in every one.

    The token that ends a caption and the most tokens, each (1,), which benchmarks change
    (`edgecap_export.litert.loop.forced`); the number of beams (1,); the sums added to the scores of the attention to
    the memory (1, frames); each layer's keys and values of the memory (heads, frames, head_dim).
    """
    return (
        *FORCED,
        "beams",
        "seen",
        *(f"cross_{kind}_{layer}" for layer in range(layers) for kind in ("keys", "values")),
    )


def search_graphs(student: Student, frames: int) -> Iterator[tuple[str, nn.Module, dict[str, Tensor], tuple[str, ...]]]:
    """What is converted, for a memory of so many frames: signature, graph, example of its inputs, names of its outputs.

    `inside` makes one signature of both.
    """
    # the converter learns of the operators of `SearchStep` by this
    from litert_torch.backend.experimental import torch_tfl  # noqa: F401

    config = student.config
    start, layers = SearchStart(student).eval(), config.layers
    states, fixed = state_names(layers), fixed_names(layers)
    cross = (1, layers, config.heads, frames, config.d_model // config.heads)
    # one tensor given twice would become one input
    given = torch.tensor([frames]), torch.tensor([ROWS]), torch.zeros(cross), torch.zeros(cross)
    yield START, start, dict(zip(SEARCH_INPUTS, given, strict=True)), (*states, *fixed)
    example = dict(zip((*states, *fixed), (each.clone() for each in start(*given)), strict=True))
    yield STEP, SearchStep(student).eval(), example, states


def inside(content: bytes, student: Student) -> bytes:
    """A program with the graphs of `search_graphs`, quantised or not, with the search as its signature "decode"."""
    layers = student.config.layers
    return looped(content, START, STEP, state_names(layers), fixed_names(layers), RESULTS)


class SearchStart(nn.Module):
    """What is before the first step: a `decode`'s inputs → `state_names` and `fixed_names`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        config = student.config
        self.layers, self.most = config.layers, config.max_tokens
        self.register_buffer("empty", torch.zeros(config.heads, ROWS * self.most, config.d_model // config.heads))
        past = torch.full((ROWS, ROWS * self.most), -math.inf)
        past[:, :ROWS] = own_slots()
        self.register_buffer("past", past)
        self.register_buffer("sums", torch.tensor([0.0] + [-math.inf] * (ROWS - 1)))
        self.register_buffer("words", torch.full((ROWS, self.most), SPECIALS.pad, dtype=torch.int32))
        self.empty: Tensor
        self.past: Tensor
        self.sums: Tensor
        self.words: Tensor

    def forward(
        self, memory_length: Tensor, beams: Tensor, cross_keys: Tensor, cross_values: Tensor
    ) -> tuple[Tensor, ...]:
        """As BUNDLE.md says of a search in-graph, for one clip."""
        seen = torch.where(length_mask(memory_length, cross_keys.shape[3]), 0.0, torch.tensor(-math.inf))
        states = (
            torch.ones(1, dtype=torch.int32),
            torch.zeros(1, dtype=torch.int32),
            torch.full((ROWS,), SPECIALS.start, dtype=torch.int32),
            self.sums.clone(),
            self.past.clone(),
            self.words.clone(),
            torch.zeros(1, dtype=torch.int32),
            self.words.clone(),
            torch.full((ROWS,), -math.inf),
        )
        cross = (memory[0, layer] for layer in range(self.layers) for memory in (cross_keys, cross_values))
        caches = (self.empty.clone() for _ in range(2 * self.layers))
        limits = (torch.tensor([number], dtype=torch.int32) for number in (SPECIALS.end, self.most))
        return (*states, *caches, *limits, beams.clone(), seen, *cross)


class SearchStep(nn.Module):
    """One step: `state_names` and `fixed_names` → `state_names`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.decoder = student.decoder
        self.register_buffer("own", own_slots())
        self.register_buffer("numbers", torch.arange(ROWS, dtype=torch.int32))
        self.register_buffer("positions", student.decoder.positions[: student.config.max_tokens].clone())
        self.own: Tensor
        self.numbers: Tensor
        self.positions: Tensor

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The decoder for every row, then the choice of the rows that go on."""
        _, position, token, sums, past, sequences, ended, tokens, scores, *more = given
        layers = len(self.decoder.layers)
        caches, (end, most, beams, seen, *cross) = more[: 2 * layers], more[2 * layers :]
        x = self.decoder.embedding(token) * self.decoder.scale + _rows(self.positions, position)
        first, zero = (position * ROWS)[0], torch.zeros((), dtype=torch.int32)
        for index, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, DecoderLayer)
            pair = slice(2 * index, 2 * index + 2)
            x, caches[pair] = _layer(layer, x, [zero, first, zero], caches[pair], past, cross[pair], seen)
        logits = self.decoder.logits(x)
        totals = functional.log_softmax(logits, dim=-1) + sums[:, None]
        totals, best = torch.ops.tfl.topk_v2(totals.reshape(-1), ROWS)
        row = torch.div(best, logits.shape[1], rounding_mode="trunc")
        chosen = best - row * logits.shape[1]

        live = self.numbers < beams
        ends = (chosen == end) & live
        ended = ended + ends.to(torch.int32).sum(dtype=torch.int32).reshape(1)
        captions = _updated(_rows(sequences, row), chosen[:, None], [zero, position[0]])
        length = position + 1
        is_caption = (ends | (length == most)) & live & (totals > float(FINISHED_SUM))
        means = torch.where(is_caption, totals / length.to(torch.float32), -math.inf)
        scores, places = torch.ops.tfl.topk_v2(torch.cat([scores, means]), ROWS)
        tokens = _rows(torch.cat([tokens, captions]), places)

        # where the search is over, all rows leave the competition, and nothing of them counts any more
        over = ends | (ended == beams)
        sums = torch.where(live, torch.where(over, float(FINISHED_SUM), totals), -math.inf)
        goes_on = (sums.max() > float(FINISHED_SUM)) & (length < most)
        past = _updated(_rows(past, row), self.own, [zero, first + ROWS])
        states = goes_on.to(torch.int32), length, chosen, sums, past, captions, ended, tokens, scores
        return (*states, *caches)


def own_slots() -> Tensor:
    """What is added to the scores of a position's slots (rows, rows): each row sees its own."""
    return torch.where(torch.eye(ROWS, dtype=torch.bool), 0.0, -math.inf)


def _rows(table: Tensor, numbers: Tensor) -> Tensor:
    """Rows of a table, by one operator: PyTorch's own becomes ten that look whether the numbers are in range."""
    return torch.as_tensor(torch.ops.tfl.gather(table, numbers, 0))


def _updated(tensor: Tensor, part: Tensor, place: list[Tensor]) -> Tensor:
    """`tensor` with `part` written to where `place` says, moved back where it would reach beyond the end."""
    from litert_torch.generative.custom_ops.dynamic_update_slice import dynamic_update_slice

    return torch.as_tensor(dynamic_update_slice(tensor, part, place))


def _layer(  # noqa: PLR0917
    layer: DecoderLayer,
    x: Tensor,
    place: list[Tensor],
    caches: list[Tensor],
    past: Tensor,
    cross: list[Tensor],
    seen: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """As `DecoderLayer.step`; `x` (rows, d_model)."""

    def split(part: Tensor) -> Tensor:
        return part.reshape(ROWS, layer.heads, layer.head_dim).transpose(0, 1)

    def joined(part: Tensor) -> Tensor:
        return part.transpose(0, 1).reshape(ROWS, layer.heads * layer.head_dim)

    query, key, value = (split(part) for part in layer.self_query_key_value(x).chunk(3, dim=-1))
    keys, values = (_updated(cache, part, place) for cache, part in zip(caches, (key, value), strict=True))
    x = layer.self_norm(x + layer.self_output(joined(attention(query, (keys, values), past))))
    crossed = attention(split(layer.cross_query(x)), (cross[0], cross[1]), seen)
    x = layer.cross_norm(x + layer.cross_output(joined(crossed)))
    return layer.feed_forward(x), [keys, values]
