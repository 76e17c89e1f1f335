"""The errors that edgecap raises, and their exit codes.

    EdgecapError                 1   base of all; raised itself where no other class fits
    ├── ConfigError              2   a configuration file or a value in it is wrong (names the line)
    │   └── RecipeError              a training or export recipe is wrong (names the key)
    ├── AudioError               3   a sound cannot be used (file, format, samples)
    ├── BundleError              4   a model cannot be used
    │   ├── ManifestError            the manifest is invalid, or of an unsupported version
    │   ├── IntegrityError           a file is missing, changed or outside the folder
    │   ├── OperatorError            the installed runtime lacks an operator of the model's graph
    │   └── DownloadError            a model's file cannot be got from where it is published
    ├── MissingDependencyError   5   a library or an extra is not installed
    ├── DeviceError              6   a microphone is missing, busy or refused
    ├── StuckDeviceError         6   the sound system hangs in a microphone
    ├── OutputError              7   a result cannot be written or served
    ├── CheckpointError          8   a checkpoint cannot be imported (names the tensor)
    ├── VerificationError        9   an exported graph differs from PyTorch, or none could be made
    │   ├── ShapeMismatchError       an output has another shape
    │   ├── ToolchainError           a converter refuses the model
    │   └── ToleranceError           an output differs by more than it may
    ├── BusyMachineError        10   the machine is too busy to measure on
    ├── ServiceError            11   the systemd service cannot be installed, removed or queried
    ├── DataError               12   data other than sound cannot be used
    │   ├── TableError               a table of captions is missing or malformed (names the row)
    │   ├── TrainingDataError        training data are missing, damaged or do not fit the recipe
    │   └── ResultError              a result file is missing, damaged or of another version
    ├── RunError                13   a long run failed
    │   ├── TrainingError            a training run diverged or cannot be resumed
    │   └── MeasurementError         a measuring process failed or did not answer
    └── NoHitsError             14   a search found nothing

Exit code 0 is success, 1 an unexpected failure, 2 also a wrong command line; 130 and 143 follow Ctrl-C and SIGTERM
(for `edgecap listen`, the second one). `edgecap doctor` returns 11 for a fault, `edgecap service status` for a service
that does not run. A message is one line that says what happened, why, and what to type next.
"""

from __future__ import annotations


class EdgecapError(Exception):
    """Base of edgecap's errors."""

    exit_code = 1
    """What a command returns for the error; a subclass names its own or has that of its base."""

    def __init_subclass__(cls, exit_code: int | None = None) -> None:
        if exit_code is not None:
            cls.exit_code = exit_code


class ConfigError(EdgecapError, exit_code=2):
    """A setting cannot be used; the message names the key, and the line where it came from a file."""


class RecipeError(ConfigError):
    """A recipe has an unknown key or an invalid value; the message names it."""


class AudioError(EdgecapError, exit_code=3):
    """A sound cannot be used: unreadable, empty, not finite, not audio."""


class BundleError(EdgecapError, exit_code=4):
    """A model bundle cannot be used."""


class ManifestError(BundleError):
    """The manifest is missing, not JSON, incomplete, or of a format version edgecap does not read."""


class IntegrityError(BundleError):
    """A file of the bundle is missing, altered, or lies outside the bundle's folder."""


class OperatorError(BundleError):
    """A graph has an operator, or is of a version, that the installed runtime does not know."""


class DownloadError(BundleError):
    """A file of a model cannot be got: the server is down, slow, refuses, or has no such file."""


class MissingDependencyError(EdgecapError, exit_code=5):
    """A library or an optional extra is needed and not installed."""

    @classmethod
    def for_extra(cls, what: str, extra: str) -> MissingDependencyError:
        """The error for `what` needing the extra `extra`; its message says what to type."""
        return cls(f"{what} needs packages that are not installed; type: {install_extra(extra)}")


class DeviceError(EdgecapError, exit_code=6):
    """A capture device is missing, busy, or refuses the request."""


class StuckDeviceError(EdgecapError, exit_code=6):
    """The sound system does not come back; the process that waited for it is ended, and another one may try again.

    No DeviceError, which says that the device is not there or refuses.
    """


class OutputError(EdgecapError, exit_code=7):
    """A result cannot be written (disk full, read-only, not permitted) or served (the port is in use)."""


class CheckpointError(EdgecapError, exit_code=8):
    """A checkpoint is incomplete or wrong; the message names the first tensor at fault."""


class VerificationError(EdgecapError, exit_code=9):
    """An exported graph does not reproduce the PyTorch model."""


class ShapeMismatchError(VerificationError):
    """An output of an exported graph has another shape than PyTorch's."""


class ToleranceError(VerificationError):
    """An output of an exported graph differs from PyTorch's by more than its tolerance."""


class ToolchainError(VerificationError):
    """A runtime's toolchain refuses the model, or gives what edgecap cannot use."""


class BusyMachineError(EdgecapError, exit_code=10):
    """The machine is too busy for a valid measurement."""


class ServiceError(EdgecapError, exit_code=11):
    """systemd refused a request, or did not answer."""


class DataError(EdgecapError, exit_code=12):
    """Data other than sound cannot be used."""


class TableError(DataError):
    """A table of captions or sounds is missing or malformed; the message names the row or the column."""


class TrainingDataError(DataError):
    """Training data are missing, damaged or do not fit the recipe."""


class ResultError(DataError):
    """A file of measured results is missing, damaged, or of another format or version."""


class RunError(EdgecapError, exit_code=13):
    """A long run failed."""


class TrainingError(RunError):
    """A training run diverged, or cannot be resumed."""


class MeasurementError(RunError):
    """A measuring process failed, or did not answer."""


class NoHitsError(EdgecapError, exit_code=14):
    """A search found nothing, which is no fault; scripts tell it from one by the exit code."""


def install_extra(extra: str) -> str:
    """What to type for the extra `extra`: edgecap is on no package index, so pip is given a checkout or a wheel."""
    return f'pip install ".[{extra}]" in a checkout of edgecap, or pip install "WHEEL[{extra}]" for a wheel'


def install_newer() -> str:
    """What to do for a newer edgecap."""
    return "install a newer edgecap from a checkout (git pull && pip install .) or a release's wheel"


def reason_of(error: BaseException) -> str:
    """Why the system or a library refused, in one line; the error's type where it says nothing."""
    text = getattr(error, "strerror", None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
