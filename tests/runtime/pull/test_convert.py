"""A published checkpoint becomes a bundle with NumPy alone, or one line says which tensor is at fault.

That the graphs are those of `edgecap import`, byte for byte, tests/export/test_templates.py holds.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import home
from edgecap.captioner import Captioner
from edgecap.errors import BundleError, CheckpointError, DownloadError
from edgecap.pull.cache import CacheSlot
from edgecap.pull.fetch import Fetcher
from edgecap.pull.installed import read_origin, remove
from edgecap.pull.pins import read_pins
from edgecap.pull.places import Network
from edgecap.pull.pull import PullRequest, pull
from support.file_server import FileServer
from support.live_parts import Messages, ignore
from support.published_layout import DEC, EFF, random_checkpoint, words

WORDS = 4368
HUB = "/wsntxxn/effb2-trm-clotho-captioning/resolve/main"
TOKENIZER = "/wsntxxn/clotho-simple-tokenizer/resolve/main/tokenizer.json"
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_checkpoint(WORDS)


@pytest.fixture(scope="module")
def files(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The published files by their names: the table of words is tied in the one, and stored twice in the other."""
    folder = tmp_path_factory.mktemp("published")
    save_file(tensors, folder / "model.safetensors")
    tied = {**tensors, DEC + "classifier.weight": tensors[DEC + "word_embedding.weight"]}
    torch.save(tied, folder / "pytorch_model.bin")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(server: FileServer, files: dict[str, bytes], fetcher: Fetcher) -> Fetcher:
    """A mirror that has what the authors publish, and what gets files from there."""
    tokenizer = {"model": {"type": "WordLevel", "vocab": {word: index for index, word in enumerate(words(WORDS))}}}
    server.files[TOKENIZER] = json.dumps(tokenizer).encode()
    server.files[f"{HUB}/pytorch_model.bin"] = files["pytorch_model.bin"]
    client = type(fetcher.client)(Network(mirror=server.url), fetcher.client.limits)
    return replace(fetcher, client=client)


def test_one_word_gets_the_authors_student(
    hub: Fetcher, server: FileServer, sounds: Path, messages: Messages, files: dict[str, bytes]
) -> None:
    server.headers[f"{HUB}/pytorch_model.bin"] = {"X-Repo-Commit": "c" * 40}
    pulled = pull(PullRequest(what="effb2-trm-clotho"), hub)
    assert [path for path, _ in server.requests] == [
        f"{HUB}/model.safetensors",  # not published: the next form is taken
        f"{HUB}/pytorch_model.bin",
        TOKENIZER,
    ]
    manifest = load_bundle(pulled.folder).manifest
    assert (manifest.name, manifest.precision, manifest.vocabulary.size) == ("effb2-trm-clotho", "fp32", WORDS)
    assert manifest.licence.name == "Apache-2.0"
    assert manifest.provenance.sha256 == hashlib.sha256(files["pytorch_model.bin"]).hexdigest()
    assert manifest.provenance.details["revision"] == "c" * 40
    assert next(iter(Captioner.load("effb2-trm-clotho").caption_file(sounds / "noise.wav"))).text
    places = [
        "hf://wsntxxn/clotho-simple-tokenizer/tokenizer.json",
        "hf://wsntxxn/effb2-trm-clotho-captioning/pytorch_model.bin",
    ]
    assert sorted(read_pins()) == places
    assert sum("nobody states a hash" in text for _, text in messages) == 2

    # the same by another of its names
    assert pull(PullRequest(what="https://huggingface.co/wsntxxn/effb2-trm-clotho-captioning"), hub).bundle is None

    # the checkpoint is in the cache: another precision needs no net
    offline = replace(hub, client=type(hub.client)(Network(offline=True), hub.client.limits))
    small = pull(PullRequest(what="wsntxxn/effb2-trm-clotho-captioning", precision="int8"), offline)
    assert small.name == "effb2-trm-clotho-int8"
    assert load_bundle(small.folder).size < 0.3 * load_bundle(pulled.folder).size
    assert next(iter(Captioner.load(small.name).caption_file(sounds / "noise.wav"))).text
    remove("effb2-trm-clotho", ignore)
    assert CacheSlot(places[1]).kept()
    remove("effb2-trm-clotho-int8", ignore)
    assert not CacheSlot(places[1]).kept()


def test_both_forms_of_a_checkpoint_give_the_same_graphs(
    hub: Fetcher, server: FileServer, files: dict[str, bytes]
) -> None:
    first = pull(PullRequest(what="effb2-trm-clotho"), hub)
    server.files["/else/model.safetensors"] = files["model.safetensors"]
    server.files["/else/tokenizer.json"] = server.files[TOKENIZER]
    second = pull(PullRequest(what=f"{server.url}/else/model.safetensors"), hub)
    assert second.name == "else"
    for name in ("encode.onnx", "decode.onnx", "vocabulary.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    assert load_bundle(second.folder).manifest.licence.name == "unstated"


def test_an_update_says_whether_the_authors_changed_something(
    hub: Fetcher, server: FileServer, tensors: Tensors, tmp_path: Path
) -> None:
    pulled = pull(PullRequest(what="effb2-trm-clotho"), hub)
    newer = replace(hub, update=True)
    server.requests.clear()
    assert pull(PullRequest(what="effb2-trm-clotho"), newer).bundle is None
    assert all("if-none-match" in headers for _, headers in server.requests)
    changed = {**tensors, EFF + "_bn0.bias": tensors[EFF + "_bn0.bias"] + 1}
    torch.save(changed, tmp_path / "changed.bin")
    server.files[f"{HUB}/pytorch_model.bin"] = (tmp_path / "changed.bin").read_bytes()
    before = read_origin(pulled.folder)
    updated = pull(PullRequest(what="effb2-trm-clotho"), newer)
    assert updated.bundle is not None
    assert read_origin(pulled.folder) != before


def test_a_page_in_place_of_a_file_is_not_remembered(hub: Fetcher, server: FileServer) -> None:
    tokenizer = server.files[TOKENIZER]
    server.files[TOKENIZER] = b"<html>Log in, please</html>"
    with pytest.raises(CheckpointError, match="is not JSON"):
        pull(PullRequest(what="effb2-trm-clotho"), hub)
    assert read_pins() == {}
    server.files[TOKENIZER] = tokenizer
    assert pull(PullRequest(what="effb2-trm-clotho"), hub).bundle is not None


def test_nothing_that_is_published_is_told(hub: Fetcher, server: FileServer) -> None:
    server.files.clear()
    with pytest.raises(DownloadError, match=r"model\.safetensors does not exist .*pytorch_model\.bin does not"):
        pull(PullRequest(what="effb2-trm-clotho"), hub)
    with pytest.raises(DownloadError, match=r"somebody/student/resolve/main/model\.safetensors does not exist"):
        pull(PullRequest(what="somebody/student"), hub)
    assert server.requests[2][0] == "/somebody/student/resolve/main/manifest.json"
    with pytest.raises(BundleError, match="unstated, which is not known to allow commercial use"):
        pull(PullRequest(what=f"{server.url}/x/model.safetensors", commercial=True), hub)


Change = Callable[[Tensors], object]


def shorter(tensors: Tensors) -> None:
    for name in ("word_embedding", "classifier"):
        tensors[f"{DEC}{name}.weight"] = tensors[f"{DEC}{name}.weight"][:100]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda tensors: tensors.pop(DEC + "word_embedding.weight"), r"word_embedding\.weight is missing"),
        (lambda tensors: tensors.pop(EFF + "_bn0.bias"), r"tensor model\..*_bn0\.bias is missing \(1 of 54\d are\)"),
        (lambda tensors: tensors.update({EFF + "_bn0.bias": torch.zeros(31)}), r"has shape \(31,\) where \(32,\) is"),
        (lambda tensors: tensors.update({EFF + "_bn0.bias": torch.full((32,), torch.nan)}), "holds NaN or infinity"),
        (lambda tensors: tensors.update({EFF + "_bn0.bias": torch.zeros(32, dtype=torch.int64)}), "is of int64 where"),
        (lambda tensors: tensors[DEC + "classifier.weight"].mul_(2), "to which it is tied"),
        (lambda tensors: tensors.update({"model.more": torch.zeros(1)}), r"tensor model\.more is not part of"),
        (shorter, r"with 100 words in fp32 \(there are such of 4368 and 4981 words\); type: edgecap import"),
    ],
)
def test_what_is_no_published_student_is_refused(  # noqa: PLR0917
    hub: Fetcher, server: FileServer, tensors: Tensors, tmp_path: Path, change: Change, text: str
) -> None:
    wrong = {name: tensor.clone() for name, tensor in tensors.items()}
    change(wrong)
    torch.save(wrong, tmp_path / "wrong.bin")
    server.files[f"{HUB}/pytorch_model.bin"] = (tmp_path / "wrong.bin").read_bytes()
    with pytest.raises(CheckpointError, match=text):
        pull(PullRequest(what="effb2-trm-clotho"), hub)
    assert not (home() / "models" / "effb2-trm-clotho").exists()


def test_other_words_than_the_weights_have_are_refused(hub: Fetcher, server: FileServer) -> None:
    server.files[TOKENIZER] = json.dumps(words(WORDS - 1)).encode()
    with pytest.raises(CheckpointError, match="the vocabulary has 4367 words and the word embedding"):
        pull(PullRequest(what="effb2-trm-clotho"), hub)


def test_it_takes_neither_pytorch_nor_much_memory(hub: Fetcher) -> None:
    """At most 300 MB, in a process of its own; the time is measured in docs/models.md."""
    pull(PullRequest(what="effb2-trm-clotho"), hub)
    script = (
        "import sys\nfrom pathlib import Path\nfrom edgecap.cli import run\n"
        "code = run(['pull', 'effb2-trm-clotho', '--name', 'again', '--mirror', sys.argv[1], '--offline'])\n"
        "peak = Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]\n"
        "print(code, peak, *sorted(sys.modules))"
    )
    command = [sys.executable, "-c", script, hub.client.network.mirror]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, kilobytes, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    assert int(kilobytes) < 300_000
    assert {name.partition(".")[0] for name in modules} & {"torch", "onnx", "safetensors", "huggingface_hub"} == set()
