"""No number of a stranger's file decides without bound how much memory or time is taken; docs/limits.md says which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgecap.bundle.bundle import BundleContent, load_bundle, vocabulary_content, write_bundle
from edgecap.bundle.manifest import Manifest, manifest_schema, parse_manifest, render_manifest
from edgecap.bundle.models import list_models
from edgecap.bundle.vocabulary import read_vocabulary
from edgecap.errors import CheckpointError, ConfigError, ManifestError, OutputError
from edgecap.live.config.config_file import load_config
from edgecap.util import limits
from edgecap.util.limits import MOST_MANIFEST, MOST_RULES

DOCUMENT = Path(__file__).parents[3] / "docs/limits.md"
OTHERS = {
    "bytes of a catalogue": limits.MOST_CATALOGUE,
    "bytes of a pulled file where nothing says less": limits.MOST_MODEL_FILE,
    "bytes of a bundle's confidence": limits.MOST_CONFIDENCE,
    "bytes of the header of a safetensors file": limits.MOST_HEADER,
    "tensors of a checkpoint": limits.MOST_TENSORS,
    "axes of a tensor": limits.MOST_AXES,
    "channels": limits.MOST_CHANNELS,
    "bytes taken from standard input": limits.MOST_SPOOLED,
    "arrays of a taught sound": limits.MOST_TAUGHT_ARRAYS,
    "examples of a taught sound": limits.MOST_EXAMPLES,
    "bytes of a file with a password or token": limits.MOST_SECRET,
    "bytes of a block of the process that captures a microphone": limits.MOST_BLOCK,
    "requests and streams at once": limits.MOST_REQUESTS,
    "browsers that follow the events": limits.MOST_WATCHERS,
    "events that wait for one browser": limits.MOST_KEPT,
    "messages for the moment that wait for one browser": limits.MOST_PASSING,
    "fields of a query": limits.MOST_FIELDS,
    "bytes of an uploaded sound": limits.MOST_UPLOAD,
    "captions of an uploaded sound": limits.MOST_WINDOWS,
    "bytes of settings": limits.MOST_CONTROLS,
    "bytes of a request to label or to teach": limits.MOST_LABEL_BYTES,
    "characters of a label": limits.MOST_LABEL,
    "labels": limits.MOST_LABELS,
    "bytes of the table of labels": limits.MOST_LABEL_TABLE,
    "events of this run in memory": limits.MOST_EVENTS,
}
"""Rows of the document that the code alone knows."""
HUGE = [2**31, 10**18, 10**320]


def documented() -> dict[str, int]:
    """Name → limit of the rows of the document."""
    rows = re.findall(r"^\| (.+?) \| ([\d,]+)[^|]*\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(number.replace(",", "")) for names, number in rows for name in names.split(", ")}


def numbers(schema: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    """All keys of a class with numbers, as paths, with their schemas."""
    result = []
    for key, value in schema["$defs"][name]["properties"].items():
        if value.get("type") in {"integer", "number"}:
            result.append((key, value))
    return result


def test_every_number_of_a_manifest_has_an_upper_bound() -> None:
    schema = manifest_schema()
    unbounded = [
        f"{name}.{key}"
        for name in schema["$defs"]
        for key, value in numbers(schema, name)
        if not {"maximum", "exclusiveMaximum"} & value.keys() and key != "format_version"
    ]
    assert unbounded == []


def test_the_document_says_what_the_schema_and_the_code_say() -> None:
    schema, rows = manifest_schema()["$defs"], documented()

    def maximum(name: str, key: str) -> int:
        return int(schema[name]["properties"][key]["maximum"])

    assert rows["`front_end.sample_rate`"] == maximum("FrontEnd", "sample_rate")
    assert rows["`front_end.n_fft`"] == maximum("FrontEnd", "n_fft") == maximum("FrontEnd", "hop_length")
    assert rows["`front_end.n_mels`"] == maximum("FrontEnd", "n_mels")
    assert rows["`encoder.window_frames`"] == maximum("EncoderSpec", "window_frames")
    assert rows["`encoder.embedding_dim`"] == maximum("EncoderSpec", "embedding_dim")
    for key in ("layers", "heads", "max_tokens", "beams"):
        assert rows[f"`decoder.{key}`"] == maximum("DecoderSpec", key)
    assert rows["`vocabulary.size`"] == maximum("VocabularySpec", "size") == limits.MOST_WORDS
    assert rows["bytes of one file"] == maximum("BundleFile", "size")
    assert rows["seconds of a window"] == limits.MOST_WINDOW_SECONDS
    assert rows["characters of a word"] == limits.MOST_WORD
    assert rows["bytes of the vocabulary's file"] == limits.MOST_VOCABULARY
    assert rows["bytes of `manifest.json`"] == MOST_MANIFEST
    assert rows["levels of lists and tables in each other"] == limits.MOST_NESTED
    assert rows["files of a bundle"] == limits.MOST_FILES
    assert rows["bytes of `archive.json`"] == limits.MOST_SETTINGS
    assert rows["bytes of the configuration's file"] == limits.MOST_CONFIGURATION
    assert rows["bytes of a table of sources"] == limits.MOST_TABLE
    assert rows["bytes of a file of an archive"] == limits.MOST_SHARD
    assert rows["rows of a Parquet file"] == limits.MOST_ROWS
    assert rows["bytes of one column of a Parquet file when it is unpacked"] == limits.MOST_UNPACKED
    assert rows["characters of a source's address in a Parquet file"] == limits.MOST_ADDRESS
    assert rows["numbers in the log-mel of a window"] == limits.MOST_VALUES
    assert rows["weights of a network that a checkpoint or a recipe describes"] == limits.MOST_WEIGHTS
    assert rows["`[[rules]]`"] == MOST_RULES
    assert rows["events that wait in memory for a file or the journal"] == limits.MOST_WAITING
    assert rows["seconds of one run of `--exec`"] == limits.EXEC_SECONDS
    assert rows["seconds of one try of `--webhook`"] == limits.WEBHOOK_SECONDS
    assert rows["bytes of a run's standard error that are passed on"] == limits.MOST_ERRORS
    assert rows["visitors of `--metrics`"] == limits.MOST_SCRAPES
    assert rows["requests of an address to the page or to `--metrics` at once"] == limits.REQUESTS_AT_ONCE
    assert rows["requests of an address each second after that"] == limits.REQUESTS_EACH_SECOND
    assert rows["bytes of the directory of a zip archive"] == limits.MOST_DIRECTORY
    assert rows["bytes of the table in a PyTorch checkpoint"] == limits.MOST_PICKLE
    assert rows["bytes of the file of a taught sound"] == limits.MOST_TAUGHT
    for name, most in OTHERS.items():
        assert rows[name] == most
    assert rows["bytes that are looked at of what others publish under edgecap's topics"] == limits.MOST_PAYLOAD


def test_a_file_without_end_is_read_up_to_its_limit() -> None:
    with pytest.raises(ConfigError, match="/dev/zero cannot be read"):
        load_config("/dev/zero")
    with pytest.raises(CheckpointError, match="/dev/zero cannot be read"):
        read_vocabulary(Path("/dev/zero"))


def test_a_manifest_above_its_limit_is_not_read_to_see_what_would_be_replaced(
    tiny_folder: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(tiny_folder)
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b'{"format": "edgecap-bundle"}' + b" " * MOST_MANIFEST)
    with pytest.raises(OutputError, match="is not a bundle, so it is not overwritten"):
        write_bundle(folder, bundle.manifest, [])


@pytest.fixture
def manifest(tiny_folder: Path) -> Manifest:
    return load_bundle(tiny_folder).manifest


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize(
    "key",
    [
        "front_end.sample_rate",
        "front_end.n_fft",
        "front_end.n_mels",
        "encoder.window_frames",
        "encoder.memory_frames",
        "encoder.embedding_dim",
        "decoder.layers",
        "decoder.max_tokens",
        "decoder.default_beam",
        "vocabulary.size",
        "vocabulary.end",
    ],
)
def test_a_huge_number_in_a_manifest_is_refused_with_its_key(manifest: Manifest, key: str, value: int) -> None:
    document = json.loads(render_manifest(manifest))
    section, _, name = key.partition(".")
    document[section][name] = value
    with pytest.raises(ManifestError, match=re.escape(key)):
        parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder": {"layers": 64, "heads": 16, "head_dim": 64, "max_tokens": 256}}, "the decoder's cache would hold"),
        ({"encoder": {"window_frames": 100_000}, "front_end": {"n_mels": 1_024}}, "a window's log-mel would hold"),
        ({"encoder": {"window_frames": 100_000}}, "a window would have 1000 s, at most 600 s"),
    ],
)
def test_numbers_that_are_too_large_together_are_refused(
    manifest: Manifest, changes: dict[str, dict[str, int]], words: str
) -> None:
    document = json.loads(render_manifest(manifest))
    for section, values in changes.items():
        document[section].update(values)
    with pytest.raises(ManifestError, match=words):
        parse_manifest(json.dumps(document).encode())


def test_a_word_of_a_vocabulary_is_bounded(tiny_folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_folder)
    words = [*bundle.vocabulary[:-1], "x" * 1_000_000]
    contents = [
        vocabulary_content(words)
        if entry.role == "vocabulary"
        else BundleContent(entry.name, entry.role, bundle.folder / entry.name)
        for entry in bundle.manifest.files
    ]
    with pytest.raises(ManifestError, match="a word of 1000000 characters, at most 100"):
        write_bundle(tmp_path / "bundle", bundle.manifest, contents)


def test_a_vocabulary_of_tables_is_refused_before_they_are_made(tiny_folder: Path, tmp_path: Path) -> None:
    bundle = load_bundle(tiny_folder)
    tables = b"[" + b"{}," * (2 * limits.MOST_WORDS) + b"{}]"  # 16 MB of them took 400 MB of memory
    contents = [
        BundleContent(entry.name, entry.role, tables if entry.role == "vocabulary" else bundle.folder / entry.name)
        for entry in bundle.manifest.files
    ]
    with pytest.raises(ManifestError, match="is not a list of words"):
        write_bundle(tmp_path / "bundle", bundle.manifest, contents)


@pytest.mark.parametrize("key", ["front_end.sample_rate", "metrics.worth"])
def test_one_bad_bundle_hides_no_other(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("EDGECAP_HOME", str(tmp_path))
    document = json.loads(render_manifest(manifest))
    section, _, name = key.partition(".")
    document[section][name] = 10**320
    (tmp_path / "models" / "bad").mkdir(parents=True)
    (tmp_path / "models" / "bad" / "manifest.json").write_text(json.dumps(document))
    (tmp_path / "models" / "loop").mkdir()
    (tmp_path / "models" / "loop" / "manifest.json").symlink_to("manifest.json")
    models = {model.name: model.fault for model in list_models()}
    assert "must be a" in models["bad"] or "cannot be used" in models["bad"]
    assert models["tiny"] == ""


def test_a_bundle_that_fails_unexpectedly_is_listed_with_its_fault(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> Manifest:
        raise OverflowError("too large")

    monkeypatch.setattr("edgecap.bundle.models.read_manifest", fail)
    assert {model.fault for model in list_models()} == {"it cannot be read (OverflowError: too large)"}


@pytest.mark.parametrize(
    "text",
    [
        "[stream]\nhop = inf",
        "[stream]\nwindow = 1e300",
        "[stream]\nduration = inf",
        "[events]\nlongest = inf",
        "[events]\ncooldown = inf",
        "[events]\nmin_score = -inf",
        "[source]\nretry = 1e12",
        "[model]\nthreads = 1000000",
        "[model]\nbeam = 1000",
        "[mqtt]\nqueue = 1000000000",
        '[output]\nkeep = "99999999999999999999d"',
        f"[events]\nonly = {json.dumps(['dog'] * 1001)}",
        '[[microphones]]\ndevice = "a"\n' * 65,
    ],
)
def test_a_number_without_measure_in_the_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "a.toml")
