"""The model of a run: which one it is, and what it decides before anything is captioned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgecap.archive.schema import ArchiveSettings
from edgecap.bundle.bundle import Bundle, identity_of
from edgecap.bundle.models import find_model, list_models
from edgecap.inference.decoding import DecodeStep, Hypothesis
from edgecap.inference.session import Encoded, InferenceSession, StreamGraph, open_session
from edgecap.types import LogMel, Waveform


def model_folder(name: str | None, settings: ArchiveSettings | None) -> Path:
    """The folder of the model of that name; without a name the archive's, where it is installed, else the default one.

    Raises BundleError.
    """
    if name is None and settings is not None:
        for model in list_models():
            if model.manifest is not None and identity_of(model.manifest) == settings.model.sha256:
                return model.folder
    return find_model(name)


class DeferredSession:
    """A session that is opened when it is first needed: a finished archive never runs its model."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._bundle, self._threads = bundle, threads
        self._opened: InferenceSession | None = None

    def encode(self, sound: Waveform | LogMel, memory_length: int) -> Encoded:
        """As `InferenceSession.encode`."""
        return self._session().encode(sound, memory_length)

    def search(self, encoded: Encoded, beam: int) -> list[Hypothesis]:
        """As `InferenceSession.search`."""
        return self._session().search(encoded, beam)

    def search_several(self, encoded: Sequence[Encoded], beam: int) -> list[list[Hypothesis]]:
        """As `InferenceSession.search_several` says."""
        return self._session().search_several(encoded, beam)

    def decoder(self, encoded: Encoded, beam: int) -> DecodeStep:
        """As `InferenceSession.decoder`."""
        return self._session().decoder(encoded, beam)

    def stream_graph(self) -> StreamGraph | None:
        """As `InferenceSession.stream_graph`."""
        return self._session().stream_graph()

    def _session(self) -> InferenceSession:
        if self._opened is None:
            self._opened = open_session(self._bundle, self._threads)
        return self._opened
