"""How fast a student trains here, and how much of that its data take: `python -m edgecap_train.distill.throughput
--help`.

Blocks of steps on one batch that lies ready and blocks of steps on batches as they come alternate in one run, so that
whatever else the machine does falls on both; the share is of their rates, block by block.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edgecap.cli.console import say, write
from edgecap_train.data.batches import Batch, ReadAhead, ShardStream
from edgecap_train.distill.recipe import TrainingRecipe, read_recipe
from edgecap_train.distill.run_student import build_student
from edgecap_train.distill.trainer import Trainer, teaching_heads
from edgecap_train.models.yamnet import YamNet
from edgecap_train.text.captions import Tokenizer
from edgecap_train.text.vocabulary import read_vocabulary


def measure(recipe: TrainingRecipe, data: Path, blocks: int, steps: int) -> dict[str, float]:
    """Clips a second of a student's whole training step, front end and mixing included, pure and with its data.

    Two times `blocks` blocks of `steps` steps, after one of each that does not count.
    """
    vocabulary = read_vocabulary(data / "vocabulary.json")
    student = build_student(recipe, vocabulary)
    if isinstance(student.encoder, YamNet):  # as `fit` does; EfficientNet is faster with channels first
        student.encoder.blocks[: recipe.model.frozen_blocks].requires_grad_(False)
        student.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = recipe.optimizer.batch
    stream = ShardStream(data / "shards", Tokenizer(vocabulary), student.config.max_tokens, recipe.seed, size)
    with TemporaryDirectory() as folder:
        trainer = Trainer(
            recipe, student, teaching_heads(student, recipe), stream, Path(folder), lambda _: {}, lambda *_: None
        )
        ahead = ReadAhead(stream)
        ready = next(ahead)

        def block(pure: bool) -> tuple[float, float]:
            waited, began = ahead.waited, time.monotonic()
            for _ in range(steps):
                batch: Batch = ready if pure else next(ahead)
                trainer._learn(batch)
                trainer.step += 1
            seconds = time.monotonic() - began
            return steps * size / seconds, (ahead.waited - waited) / seconds

        pairs = [(block(True), block(False)) for _ in range(blocks + 1)][1:]
        ahead.close()
    pure = [first[0] for first, _ in pairs]
    with_data = [second[0] for _, second in pairs]
    return {
        "clips_per_second": statistics.median(with_data),
        "pure_clips_per_second": statistics.median(pure),
        "share": statistics.median(b / a for a, b in zip(pure, with_data, strict=True)),
        "waiting": statistics.median(second[1] for _, second in pairs),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m edgecap_train.distill.throughput", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that edgecap train scenes wrote")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--steps", type=int, default=6, help="steps of a block")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="override")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = read_recipe(given.recipe, given.override)
    found = measure(recipe, given.data, given.blocks, given.steps)
    if given.json:
        write(json.dumps(found))
        return
    write(
        f"{recipe.model.encoder}, batch {recipe.optimizer.batch}, {given.threads} threads, "
        f"{'bf16' if recipe.optimizer.bf16 else 'fp32'}: {found['clips_per_second']:.1f} ten-second clips a second, "
        f"{found['share']:.0%} of the pure compute rate ({found['pure_clips_per_second']:.1f}); "
        f"the model waited for data {found['waiting']:.1%} of the time"
    )
    if found["share"] < 0.9:
        say("note", "the data keep the model waiting: less than 90 % of the pure rate")


if __name__ == "__main__":
    main()
