"""The folder of a training run: what it holds, and how it stays complete when the process dies.

`recipe.json`, `run.json` (revision of the code, versions, device, command), `metrics.jsonl` (a line every few steps),
`curves/` (the same for TensorBoard), `last.pt` (everything needed to resume), and the result: the weights of
`student.safetensors` (the best) or `teacher.safetensors`.
Files appear whole or not at all; metrics after the last checkpoint are dropped when a run is resumed, for it computes
them again.
"""

from __future__ import annotations

import io
import json
import logging
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

import edgecap
from edgecap.errors import CheckpointError, OutputError
from edgecap.util.files import write_atomically
from edgecap_train.training.precision import computes_bf16
from edgecap_train.training.recipe import flat

log = logging.getLogger(__name__)
CHECKPOINT, METRICS, RECIPE, RUN, CURVES = "last.pt", "metrics.jsonl", "recipe.json", "run.json", "curves"


class RunFolder:
    """One run's folder. Only the main process of a run writes (`writes`)."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self._curves: Any = None

    def begin(self, recipe: object, device: torch.device, processes: int) -> None:
        """Write the recipe and the circumstances of the run; logs how the recipe has changed. Raises OutputError."""
        if not self.writes:
            return
        for path in self.path.glob(".*.tmp"):  # of a process that was killed while it wrote
            path.unlink(missing_ok=True)
        self._compare(msgspec.to_builtins(recipe))
        write_atomically(self.path / RECIPE, msgspec.json.format(msgspec.json.encode(recipe), indent=2))
        about = {
            "edgecap": edgecap.__version__,
            "revision": revision(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device_name(device),
            "computes_bf16": computes_bf16(device.type),
            "processes": processes,
            "threads": torch.get_num_threads(),
            "command": sys.argv,
        }
        write_atomically(self.path / RUN, json.dumps(about, indent=2) + "\n")

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line of metrics and a point to every curve. Raises OutputError."""
        if not self.writes:
            return
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
            curves = self._open_curves(step)
            for name, value in values.items() if curves else ():
                curves.add_scalar(name, value, step)
        except OSError as error:
            raise OutputError(
                f"the metrics in {self.path} cannot be written ({error.strerror or error}); free space, "
                "and type the same command to resume"
            ) from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep the state of a run, with "step" in it, instead of the one before. Raises OutputError."""
        if not self.writes:
            return
        data = io.BytesIO()
        torch.save(dict(state), data)
        write_atomically(self.path / CHECKPOINT, data.getbuffer())

    def load(self) -> dict[str, Any] | None:
        """The state that was kept, None where there is none; metrics after it are dropped. Raises CheckpointError."""
        path = self.path / CHECKPOINT
        if not path.is_file():
            if self.writes:
                self._forget_after(0)  # of a run that died before it kept anything
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            step = int(state["step"])
        except Exception as error:  # torch raises many kinds
            reason = " ".join(str(error).split())[:120]
            raise CheckpointError(f"{path} is damaged ({reason}); remove it to restart this run") from error
        if self.writes:
            self._forget_after(step)
        return state

    def metrics(self) -> list[dict[str, float]]:
        """All lines of metrics; one that a kill cut short is left out."""
        path = self.path / METRICS
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        read = []
        for line in lines:
            try:
                read.append(json.loads(line))
            except ValueError:
                log.warning("%s: a line was cut short and is left out", path)
        return read

    def close(self) -> None:
        """Write the last points of the curves."""
        if self._curves:
            self._curves.close()
        self._curves = None

    def _forget_after(self, step: int) -> None:
        if not (self.path / METRICS).is_file():
            return
        kept = [entry for entry in self.metrics() if entry["step"] <= step]
        write_atomically(self.path / METRICS, "".join(json.dumps(entry) + "\n" for entry in kept))

    def _open_curves(self, step: int) -> Any:  # noqa: ANN401 - TensorBoard's writer has no types
        if self._curves is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                log.warning("no curves are written: TensorBoard is not installed (pip install tensorboard)")
                self._curves = False
            else:
                self._curves = SummaryWriter(str(self.path / CURVES), purge_step=step)
        return self._curves

    def _compare(self, recipe: dict[str, Any]) -> None:
        try:
            before = json.loads((self.path / RECIPE).read_bytes())
        except (OSError, ValueError):
            return
        changed = sorted(key for key in flat(recipe) if flat(before).get(key) != flat(recipe)[key])
        if changed:
            log.warning("the run is resumed with another recipe than it began with: %s", ", ".join(changed))


def revision() -> str:
    """Git revision of the code that runs, with "+" where files were changed; empty outside a checkout."""
    try:
        head, changes = (
            subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def device_name(device: torch.device) -> str:
    """Name of the device that a model is trained on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
