"""Exported PyTorch programs to one ExecuTorch program whose operators XNNPACK runs, and what became of each."""

from __future__ import annotations

import logging
import operator
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from edgecap_export.executorch.search import CACHE, METHOD, looped

_QUIET = ("torch", "torchao", "executorch", "root")


@dataclass(frozen=True)
class BuiltProgram:
    """A `.pte` and its operators."""

    content: bytes
    operators: Mapping[str, int]
    """"method: operator (precision)" → how many run, by the delegate or not."""
    not_delegated: Mapping[str, int]
    """"method: operator" → how many of them ExecuTorch's own kernels run."""

    @property
    def delegated(self) -> float:
        """Share of the operators that XNNPACK runs."""
        return 1.0 - sum(self.not_delegated.values()) / sum(self.operators.values())


def build_program(programs: Mapping[str, ExportedProgram], *, searches: bool = False) -> BuiltProgram:
    """Methods by name to one program. To be called inside `quiet_toolchain`.

    `searches`: the method "decode", a `BufferedSearchStep`, becomes a search (`edgecap_export.executorch.search`).
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass

    edge = to_edge_transform_and_lower(dict(programs), partitioner={name: [XnnpackPartitioner()] for name in programs})
    operators: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for name in programs:
        graph = edge.exported_program(name).graph_module
        left.update(f"{name}: {kind}" for kind, _ in _operators(graph))
        operators.update(f"{name}: {kind} ({precision})" for kind, precision in _operators(graph))
        for part in _delegates(graph):
            operators.update(f"{name}: {kind} ({precision})" for kind, precision in _operators(part))
    # what a loop reads in every step must not make room for something else: a caller's inputs stay where they are
    plans = {name: MemoryPlanningPass(alloc_graph_input=not searches or name != METHOD) for name in programs}
    config = ExecutorchBackendConfig(
        passes=[InitializedMutableBufferPass([CACHE])], memory_planning_pass=plans, emit_mutable_buffer_names=searches
    )
    program = edge.to_executorch(config)
    content = _looped(program, config) if searches else bytes(program.buffer)
    return BuiltProgram(content, dict(sorted(operators.items())), dict(sorted(left.items())))


def _looped(program: Any, config: Any) -> bytes:  # noqa: ANN401 - the exporter's classes have no types
    """The bytes of a program whose method "decode" is made a search."""
    from executorch.exir._serialize._serialize import serialize_for_executorch

    looped(program.executorch_program)
    # the exporter serialises at once, and has no public way to change what it serialises
    emitted = program._emitter_output, config, program._data_serializer, program._named_data
    return bytes(serialize_for_executorch(*emitted)[0])


@contextmanager
def quiet_toolchain() -> Iterator[None]:
    """Keep the toolchain's warnings about unused packages and about its own code off the terminal."""
    loggers = [logging.getLogger(name) for name in _QUIET]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _delegates(graph: GraphModule) -> list[GraphModule]:
    """The parts of a lowered graph that a delegate runs, as they were before."""
    parts = [getattr(graph, str(node.target)) for node in graph.graph.nodes if node.op == "get_attr"]
    return [part.original_module.graph_module for part in parts if hasattr(part, "original_module")]


_FREE = ("quantize", "dequantize", "choose_qparams", "executorch_call_delegate", "getitem")
"""Not operators: they describe how a neighbour works, or call a part that is counted by itself."""


def _operators(graph: GraphModule) -> Iterator[tuple[str, str]]:
    """Kind and precision of each operator of a graph."""
    for node in graph.graph.nodes:
        kind = _kind(node)
        if kind and not kind.startswith(_FREE):
            yield kind, "int8" if _is_int8(node) else "float"


def _kind(node: Node) -> str:
    if node.op != "call_function" or node.target is operator.getitem:
        return ""
    name = str(getattr(node.target, "__name__", node.target))
    return name.removeprefix("aten.").removeprefix("quantized_decomposed.").removeprefix("torchao.").split(".")[0]


def _is_int8(node: Node) -> bool:
    """Whether an operator works on bytes: its weight is widened from bytes, or all its inputs and outputs are bytes."""
    arguments: list[Any] = [item for item in node.args if isinstance(item, Node)]
    widened = [_kind(item).startswith("dequantize") for item in arguments]
    if _kind(node) in ("linear", "convolution"):
        return len(widened) > 1 and widened[1]
    return bool(widened) and all(widened) and all(_kind(user).startswith("quantize") for user in node.users)
