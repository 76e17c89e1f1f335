"""Makes the bank of unrelated sounds of a model: `python -m edgecap_bench.sounds.make_bank --audio POOL`.

Only clips whose licence allows any use are taken, of sets that no measurement of `edgecap_bench.sounds.recall` needs.
The file holds embeddings, from which no sound can be made; what it came from is listed in it and beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from edgecap.captioner import Captioner
from edgecap.sounds.bank import BANKS, SCALE, Bank, frame_embeddings, model_identity, unit, write_bank
from edgecap.sounds.sound import Frames
from edgecap.util.files import to_json, write_atomically
from edgecap_bench.sounds.pool import LicensedClip, Pools, packed_windows, read_pool

FREE = re.compile(r"CC0|CC BY(?!-NC)|GPL|[Pp]ublic [Dd]omain|Apache|ODbL|DFSG|BSD|zlib")
NOT_FREE = re.compile(r"BY-NC|on-commercial|Pixabay|Sampling|none stated|research|see|not to be passed on|Freesound")
WIDTH = 256
"""Principal directions."""
SHRINKAGE = 0.3
"""Share of the mean variance that is added to each direction's, so that rare ones are not blown up."""


def is_free(clip: LicensedClip) -> bool:
    """Whether a clip's licence allows any use."""
    return bool(FREE.search(clip.licence)) and not NOT_FREE.search(clip.licence)


def main(
    audio: Pools,
    model: Annotated[str | None, typer.Option("--model")] = None,
    windows: Annotated[int, typer.Option(min=20, help="Ten-second windows.")] = 400,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bank.")] = BANKS,
) -> None:
    """Make a model's bank of unrelated sounds."""
    captioner = Captioner.load(model)
    front_end, encoder = captioner.manifest.front_end, captioner.manifest.encoder
    rate, hop = front_end.sample_rate, encoder.frames_per_memory * front_end.hop_length
    length = int(captioner.window * rate) // hop * hop
    clips = [clip for clip in read_pool(audio) if is_free(clip)]
    frames, used = list[Frames](), Counter[LicensedClip]()
    for window in packed_windows(clips, rate, length):
        frames.append(frame_embeddings(captioner.encode_samples(window.samples))[: length // hop])
        used.update(dict.fromkeys(window.clips, 1))
        if len(frames) == windows:
            break
    stacked = np.stack(frames)
    mean, projection = whitening(stacked.reshape(-1, stacked.shape[-1]))
    projected = unit(np.asarray((stacked - mean) @ projection, np.float32))
    bank = Bank(
        model_identity(captioner.bundle),
        mean,
        projection,
        np.rint(projected * SCALE).astype(np.int8),
        hop / rate,
        tuple(_sets(list(used))),
    )
    path = write_bank(output, bank)
    lines = ",\n".join(f"    {to_json(dict(entry))}" for entry in bank.sets)
    text = f'{{\n  "model": "{captioner.manifest.name}",\n  "sha256": "{bank.model}",\n  "sets": [\n{lines}\n  ]\n}}\n'
    write_atomically(path.with_suffix(".json"), text)
    typer.echo(f"{path}: {len(frames)} windows of {len(used)} clips, {path.stat().st_size >> 10} KiB")


def whitening(frames: Frames) -> tuple[Frames, Frames]:
    """Mean (embedding,) and projection (embedding, WIDTH) that make the principal directions of frames alike."""
    mean = frames.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov((frames - mean).T))
    values, vectors = values[::-1][:WIDTH], vectors[:, ::-1][:, :WIDTH]
    scale = np.sqrt(values + SHRINKAGE * values.mean())
    # as they will be read: half precision
    return mean.astype(np.float16).astype(np.float32), (vectors / scale).astype(np.float16).astype(np.float32)


def _sets(clips: list[LicensedClip]) -> list[dict[str, object]]:
    """What the clips are, by set and licence."""
    counts = Counter((clip.set, clip.source, clip.licence) for clip in clips)
    return [
        {"set": name, "source": source, "licence": licence, "clips": count}
        for (name, source, licence), count in sorted(counts.items())
    ]


if __name__ == "__main__":
    typer.run(main)
