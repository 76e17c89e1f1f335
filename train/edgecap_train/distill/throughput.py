"""How fast a student trains here, and what share of the time loading data takes.

Run it as `python -m edgecap_train.distill.throughput --help`.

Blocks of steps on one batch in memory and blocks of steps on batches from disk alternate in one run, so that other load
on the machine affects both; the share is of their rates, block by block.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edgecap.cli.console import say, write
from edgecap.util.files import to_json
from edgecap_train.data.batches import Batch, ReadAhead, ShardStream
from edgecap_train.data.shards import data_vocabulary
from edgecap_train.distill.losses import teaching_heads
from edgecap_train.distill.recipe import TrainingRecipe, read_recipe
from edgecap_train.distill.run_student import build_student
from edgecap_train.distill.start import configure_encoder
from edgecap_train.distill.task import StudentTask, augmenting
from edgecap_train.text.tokenizer import Tokenizer
from edgecap_train.training.distributed import accelerator
from edgecap_train.training.precision import computes_bf16
from edgecap_train.training.trainer import Trainer


def measure(recipe: TrainingRecipe, data: Path, blocks: int, steps: int) -> dict[str, float]:
    """Clips a second of a student's whole training step, front end and mixing included, pure and with its data.

    Two times `blocks` blocks of `steps` steps, after one of each for warming up.
    """
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, audio_only=0))
    vocabulary = data_vocabulary(data)
    student = build_student(recipe, vocabulary)
    configure_encoder(student, recipe)
    size, tokenizer, heads = recipe.optimizer.batch, Tokenizer(vocabulary), teaching_heads(student, recipe.loss)
    stream = ShardStream(data / "shards", tokenizer, student.config.max_tokens, recipe.seed, size)
    prepare = augmenting(student, recipe, tokenizer)
    with TemporaryDirectory() as folder:
        task = StudentTask(recipe, student, heads, stream, lambda _: {}, lambda *_: None, prepare=prepare)
        trainer = Trainer(task, recipe, Path(folder))
        ahead = ReadAhead(stream)
        ready = next(ahead)

        def block(pure: bool) -> tuple[float, float]:
            waited, began = ahead.waited, time.monotonic()
            for _ in range(steps):
                batch: Batch = ready if pure else next(ahead)
                trainer.learn(batch)
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
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = read_recipe(options.recipe, options.override)
    rates = measure(recipe, options.data, options.blocks, options.steps)
    if options.json:
        write(to_json(rates))
        return
    bf16 = recipe.optimizer.bf16 and computes_bf16(accelerator().device.type)
    write(
        f"{recipe.model.encoder}, batch {recipe.optimizer.batch}, {options.threads} threads, "
        f"{'bf16' if bf16 else 'fp32'}: {rates['clips_per_second']:.1f} ten-second clips a second, "
        f"{rates['share']:.0%} of the pure compute rate ({rates['pure_clips_per_second']:.1f}); "
        f"the model waited for data {rates['waiting']:.1%} of the time"
    )
    if rates["share"] < 0.9:
        say("note", "loading data slows training to less than 90 % of the pure compute rate")


if __name__ == "__main__":
    main()
