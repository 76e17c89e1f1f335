"""The manifest of a bundle: `manifest.json` as frozen dataclasses.

Knows the document and its schema, not the files beside it (`edgecap.bundle.bundle` checks those). Reading is strict:
an unknown key, a missing key or a value of another type is refused and named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edgecap.audio.frontend import FrontEnd
from edgecap.bundle.fields import FileName, RuntimeName, Sha256, StreamingSpec
from edgecap.errors import ManifestError, install_newer
from edgecap.runtimes import RUNTIMES
from edgecap.util.documents import from_json
from edgecap.util.limits import LARGEST_BEAM, MOST_FILES, MOST_VALUES, MOST_WINDOW_SECONDS, check_product
from edgecap.util.limits.bounded import Beam, Bytes, Frames, Heads, Layers, Metric, Tokens, Width, Words
from edgecap.util.schema import SchemaError, convert, unknown_key
from edgecap.util.text import cleaned

FORMAT = "edgecap-bundle"
FORMAT_VERSION = 3
"""The version that this edgecap writes."""
# 2 added `front_end.clip_level` and the role "confidence", 3 `decoder.search`, `encoder.streaming` and "stream";
# the defaults are what was before
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = dict.fromkeys((1, 2), lambda document: document)
"""Older version that is still read → the function that turns its document into one of the next version.

BUNDLE.md says how long a version stays here; tests/runtime/bundle/data has a manifest of each.
"""

WRITE_AGAIN = "write the bundle again with edgecap import or edgecap export"

TokenId = Annotated[int, Meta(ge=0, le=200_000)]
Role = Literal["encode", "decode", "program", "stream", "vocabulary", "confidence", "weights", "card", "other"]
EncoderInput = Literal["log_mel", "waveform"]
Search = Literal["outside", "in-graph"]
Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One file of the bundle. A name is a plain file name: a bundle has no folders inside."""

    name: FileName
    role: Role
    """What the file is for: "vocabulary" once, and "encode" and "decode" once each, or "program" for both in one.

    "stream" once where the encoder is `streaming`; "confidence" at most once."""
    size: Bytes
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Shapes and limits of the `encode` graph; `edgecap.inference.signatures` has its inputs and outputs."""

    architecture: str
    """Name of the network, for people ("efficientnet-b2", "yamnet")."""
    window_frames: Frames
    """Log-mel frames that the graph takes; a shorter clip is padded with the front end's silence."""
    frames_per_memory: Frames
    """Log-mel frames for each memory frame."""
    memory_frames: Frames
    """Memory frames that the graph gives."""
    embedding_dim: Width
    input: EncoderInput = "log_mel"
    """What goes into the graph; "waveform" where the front end is part of it."""
    streaming: StreamingSpec | None = None
    """What a stream needs to know; None where the bundle has no graph `stream`."""

    def waveform_length(self, front_end: FrontEnd) -> int:
        """Samples of the longest clip that has no more than `window_frames` frames, rounded up to a whole hop."""
        return self.window_frames * front_end.hop_length

    def memory_length(self, frames: int) -> int:
        """Memory frames the decoder may attend to for a clip of `frames` log-mel frames (published: floored)."""
        return max(1, min(frames // self.frames_per_memory, self.memory_frames))


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Shapes and limits of the `decode` graph; `edgecap.inference.signatures` has its inputs and outputs."""

    layers: Layers
    heads: Heads
    head_dim: Width
    max_tokens: Tokens
    """Most tokens a caption has, the end token included; also the length of the cache."""
    beams: Annotated[int, Meta(ge=0, le=32)] = 0
    """Beams the graph is fixed to; 0 where any number may be given."""
    default_beam: Beam = 3
    """Beam size used where the caller names none (published: 3)."""
    search: Search = "outside"
    """What one call of the graph does: a step, adding a token to each beam; "in-graph": the whole beam search."""


@dataclass(frozen=True, kw_only=True)
class VocabularySpec:
    """Size and special tokens of the vocabulary file (a JSON list of tokens, index = id)."""

    size: Words
    pad: TokenId = 0
    start: TokenId = 1
    end: TokenId = 2
    unk: TokenId = 3


@dataclass(frozen=True, kw_only=True)
class SilenceSpec:
    """When a window is silent, so that the model is not run."""

    threshold_dbfs: Annotated[float, Meta(ge=-200, le=0)] = -65.0
    """A window whose loudest 100 ms block has an RMS level below this (dB relative to full scale) is silent."""
    caption: str = "silence"
    """The caption of a silent window."""

    @classmethod
    def of_front_end(cls, front_end: FrontEnd) -> SilenceSpec:
        """What a new bundle gets: lower where the front end raises quiet clips to one level."""
        return cls() if front_end.clip_level is None else cls(threshold_dbfs=-75.0)


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Licence of the weights; the code has its own."""

    name: str
    """SPDX identifier where there is one, else the licence's name."""
    notice: str = ""
    """Terms that a user of the weights must know, in one or two sentences."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the weights come from."""

    source: str
    """What the weights were made from: a recipe, or the file imported."""
    sha256: str = ""
    """Digest of the checkpoint they were exported from, in hex; empty where there was none."""
    created_by: str
    """Program and version that wrote the bundle."""
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of `manifest.json`."""

    format: Literal["edgecap-bundle"]
    format_version: int
    name: FileName
    """Name of the model, as `--model` takes it."""
    runtime: RuntimeName
    """What runs the graphs: a name in `edgecap.runtimes.RUNTIMES`."""
    precision: Precision
    front_end: FrontEnd
    encoder: EncoderSpec
    decoder: DecoderSpec
    vocabulary: VocabularySpec
    silence: SilenceSpec
    files: Annotated[list[BundleFile], Meta(max_length=MOST_FILES, description=f"a list of at most {MOST_FILES} files")]
    licence: Licence
    provenance: Provenance
    metrics: dict[str, Metric] = field(default_factory=dict)
    """Measured values by name; the model card says how they were measured."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that are each allowed and together are not (`edgecap.util.limits`)."""
        encoder, decoder, front_end = self.encoder, self.decoder, self.front_end
        check_product("a window's log-mel", MOST_VALUES, front_end.n_mels, encoder.window_frames)
        seconds = encoder.waveform_length(front_end) / front_end.sample_rate
        if seconds > MOST_WINDOW_SECONDS:
            raise ValueError(f"a window would have {seconds:.0f} s, at most {MOST_WINDOW_SECONDS:.0f} s are allowed")
        values = decoder.layers * decoder.heads * decoder.head_dim
        check_product("the decoder's cache", MOST_VALUES, values, LARGEST_BEAM, decoder.max_tokens)
        check_product("the memory's keys", MOST_VALUES, values, encoder.memory_frames)
        step, frames, streaming = encoder.frames_per_memory, encoder.memory_frames, encoder.streaming
        if abs(frames * step - encoder.window_frames) > 2 * step:
            raise ValueError(f"{encoder.window_frames} frames, {step} a memory frame, do not make {frames} of them")
        if decoder.beams and decoder.default_beam > decoder.beams:
            raise ValueError(f"default_beam is {decoder.default_beam} and the graph has {decoder.beams} beams")
        if streaming is not None and (encoder.input != "log_mel" or front_end.compression != "log"):
            raise ValueError('a streaming encoder takes log-mel whose compression is "log"')
        if streaming is not None and streaming.lag != (lag := -(-streaming.reach // step)):
            raise ValueError(f"a reach of {streaming.reach} frames is a lag of {lag} memory frames")

    @property
    def programs(self) -> tuple[BundleFile, ...]:
        """The files that the runtime loads: one that holds both graphs, or one for each. Raises ManifestError."""
        return tuple(self.file(role) for role in RUNTIMES[self.runtime].graphs)

    def file(self, role: Role) -> BundleFile:
        """The one file of that role; ManifestError where there is none or more than one."""
        entries = [entry for entry in self.files if entry.role == role]
        if len(entries) != 1:
            raise ManifestError(
                f"the manifest lists {len(entries)} files of role {role!r} where one is needed; {WRITE_AGAIN}"
            )
        return entries[0]


def parse_manifest(text: bytes) -> Manifest:
    """`manifest.json` to a `Manifest`; older versions are upgraded first.

    Raises ManifestError for text that is not JSON, another format, a version that is not read (checked before all
    else), an unknown runtime, and an unknown, missing or ill-typed key, which it names.
    """
    try:
        document = from_json(text)
    except ValueError as error:
        raise ManifestError(f"manifest.json is not JSON ({error}); copy the bundle again") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError(
            'manifest.json is not of an edgecap bundle (no "format": "edgecap-bundle"); '
            "name a folder that edgecap import or edgecap export wrote"
        )
    document = _upgraded(cleaned(document))
    _refuse_paths(document)
    try:
        manifest = convert(document, Manifest)
    except SchemaError as error:
        raise ManifestError(f"manifest.json: {error}; {WRITE_AGAIN}") from error
    if manifest.runtime not in RUNTIMES:
        raise ManifestError(
            f"manifest.json: this edgecap does not know the runtime {manifest.runtime!r}, only "
            f"{', '.join(RUNTIMES)}; {install_newer()}, or export the model again"
        )
    unknown = unknown_key(document, msgspec.to_builtins(manifest))
    if unknown:
        raise ManifestError(
            f"manifest.json has a key that format version {FORMAT_VERSION} does not have: {unknown}; {WRITE_AGAIN}"
        )
    return manifest


def _upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """The document in this edgecap's version. Raises ManifestError for a version that is not read."""
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise ManifestError(f"manifest.json has no valid format_version but {version!r}; {WRITE_AGAIN}")
    if version > FORMAT_VERSION:
        raise ManifestError(
            f"the bundle has format version {version} and this edgecap reads up to {FORMAT_VERSION}; " + install_newer()
        )
    while version < FORMAT_VERSION:
        if version not in UPGRADES:
            raise ManifestError(
                f"the bundle has format version {version}, which this edgecap no longer reads (only "
                f"{min(UPGRADES, default=FORMAT_VERSION)} to {FORMAT_VERSION}); {WRITE_AGAIN}"
            )
        document = {**UPGRADES[version](document), "format_version": version + 1}
        version += 1
    return document


def render_manifest(manifest: Manifest) -> bytes:
    """A `Manifest` to the text of `manifest.json` (indented, trailing newline)."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema of `manifest.json`, made from the dataclasses."""
    return msgspec.json.schema(Manifest)


def _refuse_paths(document: dict[str, object]) -> None:
    """Report a listed file outside the folder as such, before its name fails a pattern."""
    files = document.get("files")
    for entry in files if isinstance(files, list) else []:
        name = str(entry.get("name")) if isinstance(entry, dict) else ""
        if "/" in name or "\\" in name or name.startswith(".."):
            raise ManifestError(
                f"manifest.json lists {name!r}, a path; a bundle's files lie in its own folder, "
                "so this bundle is not used; get it again from where it was published"
            )
