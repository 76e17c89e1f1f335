"""The encoder of a stream says what the encoder of whole windows says, at less cost, with the shipped int8 model."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgecap.audio.frontend import logarithm, mel_frames, normalised
from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, IntegrityError, ManifestError, OperatorError
from edgecap.inference.session import Encoded, open_session
from edgecap.inference.streaming import LEVEL_TOLERANCE_DB, StreamEncoder
from edgecap.live.events.describe import Describer, WindowJob
from edgecap.live.threads import slower_way
from edgecap.types import LogMel, Waveform
from support.signals import RATE, noise, tone

STEP, WINDOW = 32, 1001


@pytest.fixture(scope="module")
def tiny() -> Captioner:
    return Captioner.load("tiny", threads=1)


@pytest.fixture
def stream(tiny: Captioner) -> StreamEncoder:
    encoder = tiny.stream_encoder()
    assert isinstance(encoder, StreamEncoder)
    return encoder


def frames_of(captioner: Captioner, sound: Waveform) -> LogMel:
    front_end = captioner.manifest.front_end
    half = front_end.n_fft // 2
    return logarithm(mel_frames(np.concatenate((sound[half:0:-1], sound)), front_end), front_end)


def exactly(captioner: Captioner, frames: LogMel) -> Encoded:
    return captioner.encode(np.ascontiguousarray(normalised(frames, captioner.manifest.front_end).T))


def same(one: Encoded, other: Encoded) -> bool:
    """Bit for bit, in all that the decoder looks at."""
    length = one.memory_length
    return length == other.memory_length and all(
        np.array_equal(left, right)
        for left, right in (
            (one.clip_embedding, other.clip_embedding),
            (one.cross_keys[:, :, :length], other.cross_keys[:, :, :length]),
            (one.cross_values[:, :, :length], other.cross_values[:, :, :length]),
        )
    )


def cosine(one: Encoded, other: Encoded) -> float:
    a, b = one.clip_embedding, other.clip_embedding
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def changing(seconds: int, seed: int = 3) -> Waveform:
    """Noise and a tone in turns of a second, at one level."""
    parts = [noise(1, seed=seed + part) if part % 2 else tone(1) for part in range(seconds)]
    return np.concatenate([part * np.float32(0.1 / np.sqrt(np.mean(part**2))) for part in parts])


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.1, 2.0, 3.3, 5.0, 7.77, 9.9, 10.0])
def test_a_window_that_begins_with_its_sound_is_encoded_as_ever(
    tiny: Captioner, stream: StreamEncoder, seconds: float
) -> None:
    frames = frames_of(tiny, changing(12))[: round(100 * seconds) + 1]
    assert same(stream(frames, 70, sliding=False), exactly(tiny, frames))


def test_a_window_that_grows_is_encoded_as_ever_at_every_hop(tiny: Captioner, stream: StreamEncoder) -> None:
    frames = frames_of(tiny, changing(10))
    for end in range(150, WINDOW, 87):
        assert same(stream(frames[:end], 5, sliding=False), exactly(tiny, frames[:end]))


@pytest.mark.parametrize("hop", [1, 25, 32, 100, 200, 333])
def test_what_is_kept_gives_the_same_bits_as_the_beginning(tiny: Captioner, hop: int) -> None:
    """Where all windows have one level, a window that goes on equals one that is encoded from its beginning."""
    manifest, graph = tiny.manifest, open_session(tiny.bundle, 1).stream_graph()
    assert manifest.encoder.streaming is not None
    assert graph is not None
    level = replace(manifest, front_end=replace(manifest.front_end, clip_level=None))
    stream = StreamEncoder(level, manifest.encoder.streaming, graph)
    frames = frames_of(tiny, changing(10))
    for end in range(300, 300 + 6 * hop, hop):
        part = frames[: min(end, WINDOW)]
        assert same(stream(part, 0, sliding=False), tiny.encode(np.ascontiguousarray(part.T)))
    assert stream.anew == 1


def test_a_sliding_window_costs_what_is_new_and_means_the_same(tiny: Captioner, stream: StreamEncoder) -> None:
    frames = frames_of(tiny, changing(40))
    for end in range(WINDOW, len(frames), 200):
        part = frames[end - WINDOW : end]
        assert cosine(stream(part, end - WINDOW, sliding=True), exactly(tiny, part)) > 0.98
    assert (stream.windows, stream.anew) == (15, 1)


def test_a_sliding_window_at_another_level_is_encoded_anew(tiny: Captioner, stream: StreamEncoder) -> None:
    louder = np.float32(10 ** ((LEVEL_TOLERANCE_DB + 3.0) / 20))
    sound = np.concatenate((changing(12), changing(4) * louder))
    frames = frames_of(tiny, sound)
    stream(frames[:WINDOW], 0, sliding=True)
    stream(frames[200 : 200 + WINDOW], 200, sliding=True)
    assert stream.anew == 1
    part = frames[600 : 600 + WINDOW]
    assert same(stream(part, 600, sliding=True), exactly(tiny, part))
    assert stream.anew == 2


def test_nothing_is_kept_across_a_gap_or_a_new_beginning(tiny: Captioner, stream: StreamEncoder) -> None:
    frames = frames_of(tiny, changing(30))
    stream(frames[:WINDOW], 0, sliding=True)
    part = frames[1000 : 1000 + WINDOW]
    assert same(stream(part, 5000, sliding=True), exactly(tiny, part))  # lost sound leaves a gap in the numbers
    assert same(stream(part[300:], 5300, sliding=False), exactly(tiny, part[300:]))  # a new sound began there
    assert same(stream(frames[:WINDOW], 100, sliding=True), exactly(tiny, frames[:WINDOW]))  # numbers went back
    assert stream.anew == 4


def test_what_a_stream_holds_does_not_grow(tiny: Captioner, stream: StreamEncoder) -> None:
    frames, sizes = frames_of(tiny, changing(90)), set()
    for end in range(WINDOW, len(frames), 200):
        stream(frames[end - WINDOW : end], end - WINDOW, sliding=True)
        kept = stream._kept
        assert kept is not None
        sizes.add(kept.rows.nbytes + sum(state.nbytes for state in kept.states.values()))
    assert max(sizes) < 200_000


def test_streams_do_not_mix(tiny: Captioner) -> None:
    one, other, alone = (tiny.stream_encoder() for _ in range(3))
    first, second = frames_of(tiny, changing(20)), frames_of(tiny, changing(20, seed=50))
    for end in range(WINDOW, len(first), 200):
        window = slice(end - WINDOW, end)
        by_one = one(first[window], end - WINDOW, sliding=True)
        other(second[window], end - WINDOW, sliding=True)
        assert same(by_one, alone(first[window], end - WINDOW, sliding=True))


def test_a_listener_encodes_whole_windows_as_ever_without_that_graph(tiny: Captioner, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_model("tiny"), tmp_path / "copy"))
    listening = Captioner.load(folder, threads=1, streams=True)
    for seconds in (0.5, 4.0, 10.0):
        sound = changing(10)[: round(seconds * RATE)]
        assert same(listening.encode_samples(sound), tiny.encode_samples(sound))
    with (folder / "stream.onnx").open("r+b") as file:  # what is not read at once is checked when it is read
        file.seek(-1, 2)
        file.write(b"x")
    other = Captioner.load(folder, threads=1)
    with pytest.raises(IntegrityError, match=r"stream\.onnx was changed"):
        other.stream_encoder()
    with pytest.raises(IntegrityError, match=r"stream\.onnx was changed"):
        Captioner.load(folder, threads=1, streams=True)


def test_a_model_without_the_graph_encodes_whole_windows(captioner: Captioner) -> None:
    assert captioner.manifest.encoder.streaming is None
    sound = changing(10)
    frames = frames_of(captioner, sound)
    encode = captioner.stream_encoder()
    assert not isinstance(encode, StreamEncoder)
    assert same(encode(frames[:400], 0, sliding=False), exactly(captioner, frames[:400]))


def test_a_bundle_of_the_version_before_is_read_and_encodes_whole_windows(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(find_model("tiny"), folder)
    (folder / "stream.onnx").unlink()
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    document["format_version"] = 2
    del document["encoder"]["streaming"]
    document["files"] = [entry for entry in document["files"] if entry["role"] != "stream"]
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    old = Captioner(bundle := load_bundle(folder), open_session(bundle, 1))
    assert not isinstance(old.stream_encoder(), StreamEncoder)
    sound = changing(3)
    assert old.caption(sound, RATE).text == Captioner.load("tiny", threads=1).caption(sound, RATE).text


@pytest.mark.parametrize("kind", ["graph missing", "not listed", "another graph"])
def test_a_bundle_whose_graph_is_not_what_it_says_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(find_model("tiny"), folder)
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    entry = next(entry for entry in document["files"] if entry["role"] == "stream")
    if kind == "graph missing":
        (folder / "stream.onnx").unlink()
        with pytest.raises(IntegrityError, match=r"stream\.onnx is missing"):
            load_bundle(folder)
        return
    if kind == "not listed":
        document["files"].remove(entry)
        (folder / "stream.onnx").unlink()
        path.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(ManifestError, match="0 files of role 'stream'"):
            load_bundle(folder)
        return
    shutil.copyfile(folder / "encode.onnx", folder / "stream.onnx")
    other = next(entry for entry in document["files"] if entry["role"] == "encode")
    entry.update(size=other["size"], sha256=other["sha256"])
    path.write_text(json.dumps(document), encoding="utf-8")
    captioner = Captioner(bundle := load_bundle(folder), open_session(bundle, 1))
    assert captioner.caption(changing(3), RATE).text  # only a stream needs it
    with pytest.raises(BundleError, match=r"stream\.onnx lacks input 'blocks'; export the model again"):
        captioner.stream_encoder()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("huge state", r"stream\.onnx: state_0 has 1\d{6,} numbers, and the states .* may have \d+ in all; export the"),
        (
            "rows twice",
            r"stream\.onnx cannot serve a stream \(rows of shape \(1, 62, 1024\), not .*\); export the model",
        ),
        (
            "an operator",
            r"stream\.onnx needs what ONNX Runtime .* does not have \(.*NoSuchThing.*\); type: pip install",
        ),
        (
            "lead 0",
            r"cannot serve a stream \(memory frame [1-4] depends on the first, and .* lead 0\); export the model",
        ),
        ("lag 4", r"cannot serve a stream \(5 memory frames are given again, and the manifest says lag 4\); export"),
        ("reach 0", r"a reach of 0 frames is a lag of 0 memory frames"),
    ],
)
def test_a_graph_that_cannot_serve_a_stream_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    onnx = pytest.importorskip("onnx", reason="graphs are altered with the package onnx")
    folder = tmp_path / "altered"
    shutil.copytree(find_model("tiny"), folder)
    model = onnx.load(folder / "stream.onnx")
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    key, _, number = kind.partition(" ")
    if key in document["encoder"]["streaming"]:  # the graph is right, and the manifest says something else
        document["encoder"]["streaming"][key] = int(number)
        if key == "lag":
            document["encoder"]["streaming"]["reach"] = 32 * int(number)
    elif kind == "an operator":
        model.graph.node[0].op_type = "NoSuchThing"
    elif kind == "huge state":
        (state,) = [node for node in model.graph.input if node.name == "state_0"]
        for size in state.type.tensor_type.shape.dim:
            size.dim_value = 100_000
    else:
        (node,) = [node for node in model.graph.node if "rows" in node.output]
        node.output[list(node.output).index("rows")] = "once"
        model.graph.node.append(onnx.helper.make_node("Concat", ["once", "once"], ["rows"], axis=1))
    onnx.save(model, folder / "stream.onnx")
    entry = next(entry for entry in document["files"] if entry["role"] == "stream")
    data = (folder / "stream.onnx").read_bytes()
    entry.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(BundleError, match=message) as caught:
        Captioner.load(folder, threads=1).stream_encoder()
    if isinstance(caught.value, OperatorError):  # the sounds are heard all the same
        captioner = Captioner.load(folder, threads=1)
        assert slower_way(captioner) == f"each hop is encoded whole, which takes longer: {caught.value}"
        frames = frames_of(captioner, changing(3))
        described = Describer(captioner)(WindowJob(frames, 0.0, 3.0, -20.0, 0.0, 3.0))
        assert described.beams == captioner.decode(exactly(captioner, frames))
