"""The table of runtimes: what can run a bundle's graphs.

To add a runtime, write `edgecap/inference/NAME_session.py` with a session class (a `GraphSession`, which holds all that
the runtimes share) and add its entry to `RUNTIMES`. The check of manifests, `open_session` and all messages read the
table, and `edgecap_export` and `edgecap_bench` build theirs on it. Imports no runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from edgecap.errors import MissingDependencyError, install_extra

GraphRole = Literal["encode", "decode", "program", "stream"]


@dataclass(frozen=True, kw_only=True)
class RuntimeSpec:
    """One runtime."""

    title: str
    """Its name for people."""
    session: str
    """Its session class as "module:Class"; imported when a bundle for it is opened."""
    packages: tuple[str, ...]
    """Import names of the packages that run it, any one of which is enough; the preferred one first."""
    extra: str | None = None
    """The extra of edgecap that installs the preferred package; None where edgecap itself requires it."""
    advice: str = ""
    """What else to know before it is installed."""
    graphs: Mapping[GraphRole, str]
    """Role in the manifest → name of the file: "encode" and "decode", or "program" for one file with both."""
    stream: str = ""
    """Name of the file of the role "stream", which a bundle may have besides; empty where the runtime loads none."""

    @property
    def installed(self) -> bool:
        """Whether one of its packages is there; none is imported."""
        return any(find_spec(package) for package in self.packages)

    @property
    def install_command(self) -> str:
        """The command that installs it."""
        return install_extra(self.extra) if self.extra else f"pip install {self.packages[0]}"

    def missing(self, reason: object) -> MissingDependencyError:
        """The error for an import that failed with `reason`; its message says what to type."""
        return MissingDependencyError(
            f"a model for {self.title} needs {' or '.join(self.packages)}, which cannot be imported ({reason}); "
            f"type: {self.install_command}{self.advice}"
        )


RUNTIMES: dict[str, RuntimeSpec] = {
    "onnx": RuntimeSpec(
        title="ONNX Runtime",
        session="edgecap.inference.onnx_session:OnnxSession",
        packages=("onnxruntime",),
        graphs={"encode": "encode.onnx", "decode": "decode.onnx"},
        stream="stream.onnx",
    ),
    "executorch": RuntimeSpec(
        title="ExecuTorch",
        session="edgecap.inference.executorch_session:ExecuTorchSession",
        packages=("executorch",),
        extra="executorch",
        advice="; first install a CPU build of PyTorch, from PyTorch's own index (docs/export.md)",
        graphs={"program": "model.pte"},
    ),
    "litert": RuntimeSpec(
        title="LiteRT",
        session="edgecap.inference.litert_session:LiteRtSession",
        packages=("ai_edge_litert", "tflite_runtime"),
        extra="litert",
        graphs={"program": "model.tflite"},
    ),
}
"""Name in the manifest → runtime."""
