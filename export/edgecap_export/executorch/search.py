"""The decoder with its beam search as one ExecuTorch method: the memory of a clip in, its captions out, one call.

ExecuTorch's exporter has loops over a number of steps that is fixed (`scan`) and none that ends by itself (`while_loop`
is refused). Its programs have a jump, though: `JumpFalseCall`, of which it makes `cond`. So what is exported is one
step without a loop (`BufferedSearchStep`), which like any other graph is quantised and delegated, and behind its last
instruction `looped` puts a jump to the first one, taken as long as the search goes on. What a step hands to the next
one lies in buffers of the program. The choice is that of `edgecap.inference.decoding`, whose rules are not repeated
here.

The number of rows is fixed at `EXPORT_BEAMS`: with fewer beams the rows behind them have a sum of minus infinity. Keys
and values stay where they were written, one slot for each position and row, and a row reads the slots of its own past,
which a sum added to the attention's scores (0, or minus infinity) says.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgecap.inference.decoding import FINISHED_SUM
from edgecap_export.graphs.onnx_export import EXPORT_BEAMS
from edgecap_train.models.decoder import DecoderLayer, attention, length_mask
from edgecap_train.models.search import SPECIALS
from edgecap_train.models.student import Student

ROWS = EXPORT_BEAMS
METHOD = "decode"
NO_TOKEN = -1
"""Of no word."""
STATES = ("position", "token", "sums", "past", "sequences", "ended", "tokens", "scores")
"""What a step hands to the next one: the position (1,); the token of each row (rows,); the rows' sums (rows,); the sums
added to the attention's scores (rows, slots); the rows' tokens (rows, max_tokens); how many have ended (1,); the best
captions so far (rows, max_tokens) and their scores (rows,). Each has a buffer, and what it is before a search another.
Beside them each layer's keys and values (heads, max_tokens, rows, head_dim), whose names begin with CACHE."""
CACHE = "cache_"
"""Slots that no row reads must hold finite numbers, so a program stores these buffers' zeros."""


class BufferedSearchStep(nn.Module):
    """One step: the inputs of a `decode` that searches → the best captions so far and whether that is all."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        config = student.config
        self.decoder, self.most = student.decoder, config.max_tokens
        rows, forbidden = (ROWS, self.most), torch.tensor(-math.inf)
        states = (
            torch.zeros(1, dtype=torch.int64),
            torch.full((ROWS,), SPECIALS.start),
            torch.tensor([0.0] + [-math.inf] * (ROWS - 1)),
            torch.full((ROWS, self.most * ROWS), -math.inf),
            torch.full(rows, SPECIALS.pad),
            torch.zeros(1, dtype=torch.int64),
            torch.full(rows, SPECIALS.pad),
            torch.full((ROWS,), -math.inf),
        )
        for name, state in zip(STATES, states, strict=True):
            self.register_buffer(name, state.clone())
            self.register_buffer(f"first_{name}", state)
        shape = (config.heads, self.most, ROWS, config.d_model // config.heads)
        for index in range(config.layers):
            for kind in ("keys", "values"):
                self.register_buffer(f"{CACHE}{kind}_{index}", torch.zeros(shape))
        # the quantiser makes floats of numbers that are added to tensors, so these are tensors
        for name, constant in (
            ("own", own_slots()),
            ("positions", student.decoder.positions[: self.most].clone()),
            ("numbers", torch.arange(ROWS)),
            ("here", torch.eye(self.most).reshape(self.most, self.most, 1, 1)),
            ("slots", torch.arange(self.most * ROWS).reshape(self.most, ROWS)),
            ("one", torch.ones(1, dtype=torch.int64)),
            ("last", torch.tensor([self.most])),
            ("end", torch.tensor([SPECIALS.end])),
            ("finished", torch.tensor([float(FINISHED_SUM)])),
            ("forbidden", forbidden.reshape(1)),
        ):
            self.register_buffer(name, constant)
        self.position: Tensor
        self.token: Tensor
        self.sums: Tensor
        self.past: Tensor
        self.sequences: Tensor
        self.ended: Tensor
        self.tokens: Tensor
        self.scores: Tensor
        self.own: Tensor
        self.positions: Tensor
        self.numbers: Tensor
        self.here: Tensor
        self.slots: Tensor
        self.one: Tensor
        self.last: Tensor
        self.end: Tensor
        self.finished: Tensor
        self.forbidden: Tensor

    def forward(
        self, memory_length: Tensor, beams: Tensor, cross_keys: Tensor, cross_values: Tensor
    ) -> tuple[Tensor, ...]:
        """As BUNDLE.md says of a search in-graph, for one clip.

        → tokens, scores, and what `looped` takes away again: True at the end (1,), and the states before a search.
        """
        position = self.position.clone()
        here = self.here.index_select(0, position)[0]
        past = self.past.index_copy(1, self.slots.index_select(0, position)[0], self.own)
        seen = torch.where(length_mask(memory_length, cross_keys.shape[3]), 0.0, self.forbidden)
        x = self.decoder.embedding(self.token) * self.decoder.scale + self.positions.index_select(0, position)
        for index, layer in enumerate(self.decoder.layers):
            assert isinstance(layer, DecoderLayer)
            cross = cross_keys[0, index], cross_values[0, index]
            x = self._layer(layer, index, x, here, past, cross, seen)
        logits = self.decoder.logits(x)
        totals = logits.log_softmax(-1) + self.sums[:, None]
        totals, best = self._largest(totals.reshape(-1))
        row = torch.div(best, logits.shape[1], rounding_mode="trunc")
        chosen = best.remainder(logits.shape[1])

        live = self.numbers < beams
        ends = (chosen == self.end) & live
        ended = self.ended + ends.long().sum(0, keepdim=True)
        captions = self.sequences.index_select(0, row).index_copy(1, position, chosen[:, None])
        length = position + self.one
        is_last = length == self.last
        is_caption = (ends | is_last) & live & (totals > self.finished)
        means = torch.where(is_caption, totals / length, self.forbidden)
        scores, order = self._largest(torch.cat([self.scores, means]))
        tokens = torch.cat([self.tokens, captions]).index_select(0, order)

        # where the search is over, all rows leave the competition, and nothing of them counts any more
        over = ends | (ended == beams)
        sums = torch.where(live, torch.where(over, self.finished, totals), self.forbidden)
        is_over = (sums.amax(0, keepdim=True) <= self.finished) | is_last
        states = length, chosen, sums, past.index_select(0, row), captions, ended, tokens, scores
        for name, state in zip(STATES, states, strict=True):
            getattr(self, name).copy_(state)
        firsts = (getattr(self, f"first_{name}") for name in STATES)
        return tokens[None].clone(), scores[None].clone(), is_over, *firsts

    def _largest(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The largest of numbers (n,) and their places, each (rows,), of equal ones the first.

        ExecuTorch's `topk` takes any of them, and is not faster by more than a twentieth of a step.
        """
        largest, places = [], []
        for _ in range(ROWS):
            place = numbers.argmax(0, keepdim=True)
            largest.append(numbers.index_select(0, place))
            places.append(place)
            numbers = numbers.index_copy(0, place, self.forbidden)
        return torch.cat(largest), torch.cat(places)

    def _layer(  # noqa: PLR0917
        self,
        layer: DecoderLayer,
        index: int,
        x: Tensor,
        here: Tensor,
        past: Tensor,
        cross: tuple[Tensor, Tensor],
        seen: Tensor,
    ) -> Tensor:
        """As `DecoderLayer.step`; `x` (rows, d_model), `here` (max_tokens, 1, 1) 1 at this position, elsewhere 0."""

        def split(part: Tensor) -> Tensor:
            return part.reshape(ROWS, layer.heads, layer.head_dim).transpose(0, 1)

        def joined(part: Tensor) -> Tensor:
            return part.transpose(0, 1).reshape(ROWS, layer.heads * layer.head_dim)

        query, key, value = (split(part) for part in layer.self_query_key_value(x).chunk(3, dim=-1))
        cache = []
        for kind, part in (("keys", key), ("values", value)):
            buffer = getattr(self, f"{CACHE}{kind}_{index}")
            written = buffer * (1.0 - here) + part[:, None] * here
            buffer.copy_(written)
            cache.append(written.reshape(layer.heads, -1, layer.head_dim))
        x = layer.self_norm(x + layer.self_output(joined(attention(query, (cache[0], cache[1]), past))))
        x = layer.cross_norm(x + layer.cross_output(joined(attention(split(layer.cross_query(x)), cross, seen))))
        return layer.feed_forward(x)


def own_slots() -> Tensor:
    """What is added to the scores of a position's slots (rows, rows): each row sees its own."""
    return torch.where(torch.eye(ROWS, dtype=torch.bool), 0.0, -math.inf)


def search_inputs(student: Student, frames: int) -> tuple[Tensor, ...]:
    """An empty memory, for as many beams as there are rows."""
    config = student.config
    cross = (1, config.layers, config.heads, frames, config.d_model // config.heads)
    # one tensor given twice would become one input
    return torch.tensor([frames]), torch.tensor([ROWS]), torch.zeros(cross), torch.zeros(cross)


def clear_caches(program: ExportedProgram) -> None:
    """Zeros in a program's caches, where observing ranges has left numbers; in place."""
    for name, buffer in program.named_buffers():
        if CACHE in name:
            buffer.zero_()


def looped(program: Any) -> None:  # noqa: ANN401 - the schema's classes have no types
    """The instructions of a `BufferedSearchStep` as a search, in a program with the names of its buffers; in place.

    Before them the states are set, behind them stands a jump back until the step says that it was the last. Outputs
    and names that only this needs are taken away.
    """
    from executorch.exir.schema import Instruction, JumpFalseCall, KernelCall

    plan = next(each for each in program.execution_plan if each.name == METHOD)
    (chain,) = plan.chains
    plan.outputs, (is_over, *firsts) = plan.outputs[: -len(STATES) - 1], plan.outputs[-len(STATES) - 1 :]
    buffers = {}
    for place, value in enumerate(plan.values):
        if name := getattr(getattr(value.val, "extra_tensor_info", None), "fully_qualified_name", None):
            buffers[name] = place
            value.val.extra_tensor_info = None
    # a step ends by copying to each of its buffers
    copy = next(each.instr_args for each in chain.instructions[::-1] if each.instr_args.args[0] in buffers.values())
    setting = [
        Instruction(KernelCall(copy.op_index, [buffers[name], first, copy.args[2], buffers[name]]))
        for name, first in zip(STATES, firsts, strict=True)
    ]
    jump = Instruction(JumpFalseCall(cond_value_index=is_over, destination_instruction=len(setting)))
    chain.instructions = [*setting, *chain.instructions, jump]


def forced(content: bytes, tokens: int) -> bytes:
    """A program that searches, changed so that captions have so many tokens and no end, for benchmarks.

    Constants have no names in a program: these are what a step's length and its words are held to be equal with.
    """
    from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

    file = deserialize_pte_binary(content)
    plan = next(each for each in file.program.execution_plan if each.name == METHOD)
    for call in (each.instr_args for each in plan.chains[0].instructions):
        if getattr(plan.operators[getattr(call, "op_index", 0)], "name", "") != "aten::eq":
            continue
        left, right = (plan.values[place].val for place in call.args[:2])
        if right.data_buffer_idx:  # a constant
            value = tokens if list(left.sizes) == [1] else NO_TOKEN
            buffer = file.program.constant_buffer[right.data_buffer_idx]
            buffer.storage = value.to_bytes(8, "little", signed=True) + buffer.storage[8:]
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))
