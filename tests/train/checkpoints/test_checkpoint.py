"""Checkpoints: every published form is read, every wrong one is told in one line, our own come back whole."""

from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path

import pytest
import torch

from edgecap.audio.frontend import FrontEnd
from edgecap.errors import CheckpointError, OutputError
from edgecap_train.checkpoints.checkpoint import load_checkpoint, load_student, save_student
from edgecap_train.checkpoints.published import published_slots
from edgecap_train.models.student import Student, StudentConfig
from support.published_layout import (
    DEC,
    EFF,
    SHARED,
    needs_shared,
    published_shapes,
    random_checkpoint,
    words,
    write_checkpoint,
)

SIZE = 60
Tensors = dict[str, torch.Tensor]
HEADS = ("model.logit_scale", "model.stdnt_proj.", "model.tchr_proj.")


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_checkpoint(SIZE)


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({word: index for index, word in enumerate(words(SIZE))}))
    return path


def without(tensors: Tensors, *parts: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(parts)}


def training_form(tensors: Tensors) -> Tensors:
    """As the authors' training writes it: one wrapper less, no tied classifier, no positions."""
    kept = without(tensors, DEC + "classifier", DEC + "pos_encoder")
    return {name.removeprefix("model."): tensor for name, tensor in kept.items()}


def message(error: pytest.ExceptionInfo[CheckpointError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def same_weights(one: Student, other: Student) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(left[0] == right[0] and torch.equal(left[1], right[1]) for left, right in pairs)


@needs_shared
def test_the_tests_own_layout_is_the_published_one() -> None:
    lines = [line.split("\t") for line in (SHARED / "parity" / "student_keys.tsv").read_text().splitlines()]
    published = {name: tuple(int(part) for part in shape.split(",") if part) for name, shape in lines}
    assert published_shapes(4981) == published


def test_every_weight_of_the_student_comes_from_the_file(tensors: Tensors) -> None:
    student = Student(StudentConfig(encoder="efficientnet-b2", front_end=FrontEnd(), vocabulary_size=SIZE))
    slots = published_slots(student)
    assert {"model.model." + slot.name: slot.shape for slot in slots} == {
        name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.startswith(HEADS)
    }
    assert {part for slot in slots for part in slot.parts} == set(student.state_dict())


def test_safetensors_and_both_pickles_give_the_same_student(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    first = load_checkpoint(write_checkpoint(tmp_path / "model.safetensors", tensors), vocabulary)
    assert first.vocabulary == tuple(words(SIZE))
    assert first.notes == ()
    assert not first.student.training
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("pytorch_model.bin", "old.pth"):
        assert same_weights(load_checkpoint(tmp_path / name, vocabulary).student, first.student)


def test_the_tied_classifier_and_the_training_heads_may_be_missing(
    tensors: Tensors, vocabulary: Path, tmp_path: Path
) -> None:
    complete = load_checkpoint(write_checkpoint(tmp_path / "whole.safetensors", tensors), vocabulary)
    bare = without(tensors, DEC + "classifier", *HEADS)
    assert same_weights(
        load_checkpoint(write_checkpoint(tmp_path / "bare.safetensors", bare), vocabulary).student, complete.student
    )


def test_fixed_tables_of_the_front_end_are_passed_over(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    fixed = {
        "model.model.encoder.melspec_extractor.spectrogram.window": torch.zeros(512),
        "model.model.encoder.melspec_extractor.mel_scale.fb": torch.zeros(257, 64),
    }
    load_checkpoint(write_checkpoint(tmp_path / "fixed.safetensors", {**tensors, **fixed}), vocabulary)


def test_half_precision_weights_become_float32(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    student = load_checkpoint(write_checkpoint(tmp_path / "half.safetensors", half), vocabulary).student
    assert all(parameter.dtype == torch.float32 for parameter in student.parameters())


@pytest.mark.parametrize("nested", [False, True], ids=["word-to-id", "nested"])
def test_a_training_checkpoint_brings_its_own_vocabulary_and_says_what_it_lacks(
    tensors: Tensors, tmp_path: Path, nested: bool
) -> None:
    table = {word: index for index, word in enumerate(words(SIZE))}
    tokenizer = {"word2idx": table, "idx2word": dict(enumerate(words(SIZE)))} if nested else table
    torch.save({"model": training_form(tensors), "tokenizer": tokenizer, "epoch": 21}, tmp_path / "best.pth")
    saved = load_checkpoint(tmp_path / "best.pth")
    assert saved.vocabulary == tuple(words(SIZE))
    assert len(saved.notes) == 1
    assert "model.decoder.pos_encoder.pe" in saved.notes[0]


def test_a_published_file_may_not_lack_its_random_positions(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "lacking.safetensors", without(tensors, DEC + "pos_encoder"))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert "model.model.decoder.pos_encoder.pe is missing" in message(error)


def test_a_downloaded_folder_is_read_with_the_tokenizer_in_it(tensors: Tensors, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model.safetensors", tensors)
    (tmp_path / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [
                    {"id": index, "content": word, "special": True} for index, word in enumerate(words(4))
                ],
                "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words(SIZE)) if i > 3}},
            }
        )
    )
    assert load_checkpoint(tmp_path).vocabulary == tuple(words(SIZE))


def test_the_first_missing_tensor_is_named_in_the_files_own_order(
    tensors: Tensors, vocabulary: Path, tmp_path: Path
) -> None:
    gone = (f"{EFF}_blocks.22._bn2.running_var", f"{EFF}_blocks.7._se_reduce.bias", DEC + "attn_proj.3.bias")
    path = write_checkpoint(tmp_path / "holes.safetensors", without(tensors, *gone))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert f"tensor {EFF}_blocks.7._se_reduce.bias is missing (3 of" in message(error)


def test_a_missing_tensor_of_a_training_checkpoint_has_its_name_there(
    tensors: Tensors, vocabulary: Path, tmp_path: Path
) -> None:
    torch.save({"model": without(training_form(tensors), "model.decoder.model.layers.1.norm3")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "a.pth", vocabulary)
    assert "tensor model.decoder.model.layers.1.norm3.weight is missing" in message(error)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"{EFF}_conv_stem.weight", (32, 3, 3, 3)),
        (DEC + "word_embedding.weight", (SIZE, 300)),
        (DEC + "classifier.weight", (SIZE + 1, 256)),
        (DEC + "pos_encoder.pe", (50, 1, 256)),
        (DEC + "model.layers.0.multihead_attn.in_proj_weight", (256, 768)),
    ],
)
def test_a_misshapen_tensor_is_named_with_both_shapes(
    tensors: Tensors, vocabulary: Path, tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    path = write_checkpoint(tmp_path / "bent.safetensors", {**tensors, name: torch.zeros(shape)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert f"tensor {name} has shape {shape} where {tuple(tensors[name].shape)} is needed" in message(error)


def test_tensors_of_another_model_are_named(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "more.safetensors", {**tensors, "model.model.encoder.rnn.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert "model.model.encoder.rnn.bias" in message(error)
    path = write_checkpoint(tmp_path / "other.safetensors", {"features.0.weight": torch.zeros(3)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert f"{EFF}_conv_stem.weight is missing" in message(error)


def test_weights_that_are_not_numbers_are_named(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    name = DEC + "attn_proj.0.bias"
    path = write_checkpoint(tmp_path / "nan.safetensors", {**tensors, name: torch.full((256,), torch.nan)})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert f"tensor {name} holds NaN" in message(error)


def test_a_classifier_that_is_not_tied_is_refused(tensors: Tensors, vocabulary: Path, tmp_path: Path) -> None:
    name = DEC + "classifier.weight"
    path = write_checkpoint(tmp_path / "free.safetensors", {**tensors, name: tensors[name] + 1})
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, vocabulary)
    assert name in message(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth"])
def test_files_that_are_not_checkpoints_get_one_line(
    tensors: Tensors, vocabulary: Path, tmp_path: Path, suffix: str
) -> None:
    good = tmp_path / f"good{suffix}"
    if suffix == ".safetensors":
        write_checkpoint(good, tensors)
    else:
        torch.save(tensors, good)
    wrong = tmp_path / f"wrong{suffix}"
    for content in (b"", b"a shopping list\n" * 9, good.read_bytes()[:100_000], good.read_bytes()[:40]):
        wrong.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(wrong, vocabulary)
        assert str(wrong) in message(error)


@pytest.mark.parametrize("path", ["nowhere.safetensors", ".", "words.json"])
def test_paths_without_a_checkpoint_get_one_line(vocabulary: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / path, vocabulary)
    assert message(error)


class Payload:
    """A pickle that leaves a file behind when somebody unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, (f"open({str(self.trace)!r}, 'w')",))


@pytest.mark.parametrize("torch_made", [True, False], ids=["torch.save", "pickle"])
def test_code_in_a_pickle_is_never_run(tensors: Tensors, tmp_path: Path, torch_made: bool) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    document = {"model": training_form(tensors), "tokenizer": Payload(trace)}
    if torch_made:
        torch.save(document, path)
    else:
        path.write_bytes(pickle.dumps(document, protocol=2))
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert "run code" in message(error)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({word: index for index, word in enumerate(words(SIZE - 1))}, "has 59 words"),
        ({word: index + (index > 9) for index, word in enumerate(words(SIZE))}, "no word with id 10"),
        ({word: index for index, word in enumerate(["<start>", "<pad>", *words(SIZE)[2:]])}, "'<start>' as id 0"),
        ({"a": "b"}, "holds no vocabulary"),
        ([], "holds no vocabulary"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(tensors: Tensors, tmp_path: Path, table: object, what: str) -> None:
    (tmp_path / "odd.json").write_text(json.dumps(table))
    path = write_checkpoint(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, tmp_path / "odd.json")
    assert what in message(error)


def test_a_vocabulary_that_is_not_json_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "model.safetensors", tensors)
    (tmp_path / "odd.json").write_text("dog\ncat\n")
    for name in ("odd.json", "nowhere.json"):
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path, tmp_path / name)
        assert name in message(error)


def test_a_checkpoint_without_any_vocabulary_says_what_to_type(tensors: Tensors, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "model.safetensors", tensors)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert "--vocabulary" in message(error)


@pytest.fixture
def own() -> Student:
    front_end = FrontEnd(win_length=400, power=1, mel_slopes="mel", compression="log")
    return Student(StudentConfig(encoder="yamnet", front_end=front_end, vocabulary_size=SIZE, layers=1, max_tokens=12))


def test_our_own_checkpoints_come_back_whole(own: Student, tmp_path: Path) -> None:
    path = tmp_path / "runs" / "own.safetensors"
    save_student(path, own, tuple(words(SIZE)), {"recipe": "test"})
    saved = load_student(path)
    assert saved.student.config == own.config
    assert same_weights(saved.student, own)
    assert saved.vocabulary == tuple(words(SIZE))
    assert saved.metadata == {"recipe": "test"}
    assert same_weights(load_checkpoint(path).student, own)
    assert [file.name for file in path.parent.iterdir()] == ["own.safetensors"]


def test_a_published_file_is_not_taken_for_our_own(tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="own training"):
        load_student(write_checkpoint(tmp_path / "model.safetensors", tensors))


def test_a_full_disk_leaves_the_old_checkpoint_as_it_was(
    own: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.safetensors"
    save_student(path, own, tuple(words(SIZE)))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_student(path, own, tuple(words(SIZE)))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["own.safetensors"]
