"""What the commands of training share: options, the check for installed packages, logging and threads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from edgecap.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from edgecap.cluster.session import Workers

TRAINING = ("torch", "scipy", "safetensors", "accelerate")

Audio = Annotated[Path, typer.Option("--audio", help="Pool of training sounds: a folder with a manifest.csv.")]
Captions = Annotated[Path, typer.Option("--captions", help="CSV with youtube_id, caption, labels (AudioSet names).")]
TaggerFolder = Annotated[Path, typer.Option("--tagger", help="Folder of the EfficientAT tagger: mn04_as_mAP_432.pt.")]
Development = Annotated[Path, typer.Option("--development", help="Held-out recordings: CSV with file, caption_1 …")]
RunFolder = Annotated[Path, typer.Option("-o", "--out", help="Run folder; an interrupted run there is resumed.")]
LeastCount = Annotated[int, typer.Option(help="A word needs this many captions to enter the vocabulary.")]
Threads = Annotated[int, typer.Option(min=1)]
EngineName = Literal["local", "ray"]
Engine = Annotated[EngineName, typer.Option("--engine", help="local: this process; ray: workers, edgecap[ray].")]
WorkerCount = Annotated[
    int | None, typer.Option("--workers", min=1, help="With --engine ray: worker processes. [default: cores / threads]")
]
Address = Annotated[
    str | None, typer.Option("--address", help="With --engine ray: a Ray cluster, HOST:PORT, ray://HOST:PORT or auto.")
]
Override = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe.")]


Answer = TypeVar("Answer")


def need(command: str, *packages: str, extra: str = "train") -> None:
    """Raise MissingDependencyError where one of the packages, or of those that all training needs, is missing."""
    if any(find_spec(package) is None for package in (*TRAINING, *packages)):
        raise MissingDependencyError.for_extra(f"edgecap {command}", extra)


def workers_of(engine: EngineName, count: int | None, address: str | None, threads: int) -> Workers | None:
    """The workers that the options ask for; None for this process. Raises ConfigError, MissingDependencyError."""
    if engine == "local":
        if count is not None or address is not None:
            raise ConfigError("--workers and --address are for workers of Ray; add --engine ray")
        return None
    from edgecap.cluster.session import Workers, load_ray

    load_ray(own=address is None)  # before minutes of other work
    return Workers(count=count, threads=threads, address=address)


def train_on(on: Workers | None, train: Callable[[], Answer]) -> Answer | None:
    """What a training run returns in this process, one of all that torchrun started; None from the workers of Ray."""
    if on is None:
        return train()
    from edgecap_train.training.on_ray import run_on_ray

    run_on_ray(train, on)
    return None


def is_first() -> bool:
    """Whether this is the first of the processes that train together: it prints the result of all."""
    from edgecap_train.training.distributed import process_index

    return process_index() == 0


def full(path: Path | None) -> Path | None:
    """An absolute path: workers are in folders of their own."""
    return None if path is None else path.absolute()


def prepare_run(threads: int, level: int = logging.INFO) -> None:
    """Log on standard error, with the time from INFO on, and let PyTorch use `threads`."""
    import torch

    line = "%(asctime)s %(message)s" if level <= logging.INFO else "%(message)s"
    logging.basicConfig(level=level, format=line, datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
