"""A wav to a sentence with NumPy and onnxruntime, ai-edge-litert or executorch: the steps of edgecap's BUNDLE.md.

python caption.py BUNDLE SOUND.wav [--tokens]      one line for each ten seconds
"""

import json
import sys
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np


def read_wav(path: str, rate: int) -> np.ndarray:
    """Mono samples (n,) float32 in [-1, 1] of a wav with 16 bits and the model's rate."""
    with wave.open(path, "rb") as file:
        if (file.getsampwidth(), file.getframerate()) != (2, rate):
            sys.exit(f"{path} is not 16 bits at {rate} Hz; type: ffmpeg -i {path} -ar {rate} -c:a pcm_s16le other.wav")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return samples.mean(axis=1, dtype=np.float32) / np.float32(32768)


def level(samples: np.ndarray, rate: int) -> float:
    """RMS of the loudest 100 ms in dB relative to full scale, each block without its mean."""
    length = min(rate // 10, samples.size)
    blocks = [*samples[: samples.size // length * length].reshape(-1, length), samples[-length:]]
    return 10 * np.log10(max(1e-12, *(block.var() for block in blocks)))


def mel_bank(f: Mapping) -> np.ndarray:
    """Triangular HTK filters with a peak of 1: shape (n_mels, n_fft // 2 + 1)."""
    edges = np.linspace(*(2595 * np.log10(1 + f[edge] / 700) for edge in ("f_min", "f_max")), f["n_mels"] + 2)
    bins = np.linspace(0, f["sample_rate"] / 2, f["n_fft"] // 2 + 1)
    if f["mel_slopes"] == "hertz":
        edges = 700 * (10 ** (edges / 2595) - 1)
    else:
        bins = np.append(-np.inf, 2595 * np.log10(1 + bins[1:] / 700))  # the constant component is in no band
    width = np.diff(edges)[:, None]
    return np.maximum(0, np.minimum((bins - edges[:-2, None]) / width[:-1], (edges[2:, None] - bins) / width[1:]))


def log_mel(samples: np.ndarray, f: Mapping) -> np.ndarray:
    """Log-mel of one clip, with its own level and floor: shape (n_mels, n // hop_length + 1)."""
    size, length, power = f["n_fft"], f["win_length"], f["power"]
    window = np.zeros(size, np.float32)
    window[(size - length) // 2 :][:length] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, size // 2, "reflect"), size)[:: f["hop_length"]]
    mel = mel_bank(f) @ np.abs(np.fft.rfft(frames * window)).T ** power
    mel = np.maximum(mel, f["amin"] if f["compression"] == "decibel" else 0)
    if f["clip_level"] is not None:
        decibels = 10 * np.log10(max(np.mean(mel ** (2 / power)), 1e-10))
        mel *= 10 ** ((f["clip_level"] - decibels) * power / 20)
    if f["compression"] == "log":
        return np.log(mel + f["log_offset"])
    return np.maximum(10 * np.log10(mel), 10 * np.log10(mel.max()) - f["top_db"])


def encoder_feed(samples: np.ndarray, encoder: Mapping, f: Mapping) -> dict[str, np.ndarray]:
    """The inputs of `encode` for one clip: padding comes after the logarithm, and has the value of silence."""
    shortest = max((encoder["frames_per_memory"] - 1) * f["hop_length"], f["n_fft"] // 2 + 1)
    samples = np.pad(samples, (0, max(0, shortest - samples.size)))
    frames = samples.size // f["hop_length"] + 1
    silence = 10 * np.log10(f["amin"]) if f["compression"] == "decibel" else np.log(f["log_offset"])
    window = np.full((1, f["n_mels"], encoder["window_frames"]), silence, np.float32)
    window[0, :, :frames] = log_mel(samples, f)
    length = min(max(1, frames // encoder["frames_per_memory"]), encoder["memory_frames"])
    return {"log_mel": window, "memory_length": np.array([length])}


def beam_search(feed: Mapping, encode: Callable, decode: Callable, manifest: Mapping) -> list[int]:
    """The tokens of the best caption of one clip."""
    memory = dict(zip(("cross_keys", "cross_values"), encode(feed), strict=False))
    shape, end, length = manifest["decoder"], manifest["vocabulary"]["end"], {"memory_length": feed["memory_length"]}
    beams, steps = shape["beams"] or shape["default_beam"], shape["max_tokens"]
    if shape.get("search") == "in-graph":  # one call, for one clip or several; what follows is for the others
        tokens, *_ = decode(length | {"beams": np.array([beams])} | {key: value[None] for key, value in memory.items()})
        return [*map(int, tokens[0, 0, : [*tokens[0, 0], end].index(end) + 1])]
    keys = values = np.zeros((shape["layers"], beams, shape["heads"], steps, shape["head_dim"]), np.float32)
    tokens, parents = np.full(beams, manifest["vocabulary"]["start"]), np.arange(beams)
    sums, captions, hypotheses, ended = np.zeros(beams, np.float32), [[]] * beams, [], 0
    for position in range(steps):
        place = {"tokens": tokens, "position": np.array([position])} | length
        caches = {"self_keys": keys.take(parents, axis=1), "self_values": values.take(parents, axis=1)}
        log_probs, keys, values = decode(place | caches | memory)
        totals = (log_probs + sums[:, None])[: beams if position else 1]  # at first all beams are alike
        best = np.argsort(-totals, axis=None, kind="stable")[:beams]
        sums, parents, tokens = totals.reshape(-1)[best], *np.divmod(best, totals.shape[1])
        captions = [[*captions[row], int(token)] for row, token in zip(parents, tokens, strict=True)]
        for row, caption in enumerate(captions):
            if caption[-1] == end or position == steps - 1:
                ended += 1
                hypotheses += [(float(sums[row]) / len(caption), caption)] * (end not in caption[:-1])
                sums[row] = -1000  # out of the competition
        if ended == beams or all(end in caption for caption in captions):
            break
    return max(hypotheses, key=lambda hypothesis: hypothesis[0])[1]


def sentence(tokens: Iterable[int], words: Sequence[str], last_special: int) -> str:
    """Words to text: "man 's" is "man's", and no space stands before a comma."""
    joined, text, space = {*",.;:!?%)", "-rrb-", "'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m"}, "", ""
    for word in (words[token] for token in tokens if token > last_special):
        text += ("" if word in joined else space) + word
        space = "" if word in {"-lrb-", *"($#"} else " "
    return text.replace("-lrb-", "(").replace("-rrb-", ")")


def open_graph(name: str, outputs: Sequence[str], runtime: str, files: Mapping[str, str]) -> Callable:
    """A graph as a function of its inputs, which are in the order of BUNDLE.md's table, to the outputs named."""
    if runtime == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(files[name])
        return lambda feed: session.run(outputs, feed)
    if runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(files["program"]).get_signature_runner(name)
        types = {key: tensor["dtype"] for key, tensor in run.get_input_details().items()}  # int32 instead of int64
        return lambda feed: [*map(run(**{key: array.astype(types[key]) for key, array in feed.items()}).get, outputs)]
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(files["program"]).load_method(name)
    return lambda feed: [result.numpy() for result in method.execute([*map(torch.from_numpy, feed.values())])]


def main(bundle: str, sound: str, *options: str) -> None:
    """Caption a wav, ten seconds at a time."""
    manifest = json.loads(Path(bundle, "manifest.json").read_bytes())
    files = {file["role"]: str(Path(bundle, file["name"])) for file in manifest["files"]}
    words = json.loads(Path(files["vocabulary"]).read_bytes())
    encode = open_graph("encode", ["cross_keys", "cross_values"], manifest["runtime"], files)
    steps, place = ["log_probs", "new_self_keys", "new_self_values"], manifest["decoder"].get("search")
    decode = open_graph("decode", ["tokens"] if place == "in-graph" else steps, manifest["runtime"], files)
    encoder, front_end = manifest["encoder"], manifest["front_end"]
    rate, size = front_end["sample_rate"], (encoder["window_frames"] - 1) * front_end["hop_length"]
    samples = read_wav(sound, rate)
    for start in range(0, max(1, samples.size - rate + 1), size):  # less than a second at the end gets no caption
        window = samples[start : start + size]
        if level(window, rate) < manifest["silence"]["threshold_dbfs"]:
            print(manifest["silence"]["caption"])
            continue
        tokens = beam_search(encoder_feed(window, encoder, front_end), encode, decode, manifest)
        print(*tokens if "--tokens" in options else [sentence(tokens, words, manifest["vocabulary"]["unk"])])


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else sys.exit(__doc__)
