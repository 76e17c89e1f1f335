"""Every error that edgecap raises on purpose, and the exit code that each one means.

    EdgecapError                 1   something that edgecap explains and that is none of the below
    ├── ConfigError              2   a configuration file or a value in it is wrong (names the line)
    │   └── RecipeError              a training or export recipe is wrong (names the key)
    ├── AudioError               3   the sound cannot be used (file, format, samples)
    ├── BundleError              4   the model cannot be used
    │   ├── ManifestError            the manifest is invalid, or of an unsupported version
    │   └── IntegrityError           a file is missing, changed or outside the folder
    ├── MissingDependencyError   5   a library or an extra is not installed
    ├── DeviceError              6   a microphone is missing, busy or refused
    ├── OutputError              7   a result could not be written or served
    ├── CheckpointError          8   a checkpoint cannot be imported (names the tensor)
    ├── VerificationError        9   an exported graph does not do what PyTorch does
    │   ├── ShapeMismatchError       an output has another shape
    │   └── ToleranceError           an output differs by more than it may
    ├── BusyMachineError        10   the machine is too busy to measure on
    ├── ServiceError            11   the systemd service cannot be installed, removed or asked
    ├── DataError               12   data other than sound cannot be used
    │   ├── TableError               a table of captions is missing or malformed (names the row)
    │   ├── TrainingDataError        training data are missing, damaged or do not fit the recipe
    │   └── ResultError              a result file is missing, damaged or of another version
    └── RunError                13   long work could not go on
        ├── TrainingError            a training run diverged or cannot be resumed
        └── MeasurementError         a measuring process failed or did not answer

Exit code 0 is success and 2 also a wrong command line; 130 and 143 follow a second Ctrl-C or SIGTERM. `edgecap doctor`
returns 11 for a fault that it found, `edgecap service status` for a service that does not run.
A message says what happened, why, and what to type next; `str(error)` is one line.
"""

from __future__ import annotations


class EdgecapError(Exception):
    """Base of all errors edgecap explains; `exit_code` is what a command returns for it."""

    exit_code = 1


class ConfigError(EdgecapError):
    """A configuration cannot be used; the message names the key, and the line where it came from a file."""

    exit_code = 2


class RecipeError(ConfigError):
    """A recipe has an unknown key or a value that cannot be; the message names it."""


class AudioError(EdgecapError):
    """A sound cannot be used: unreadable, empty, not finite, not audio."""

    exit_code = 3


class BundleError(EdgecapError):
    """A model bundle cannot be used."""

    exit_code = 4


class ManifestError(BundleError):
    """The manifest is missing, not JSON, incomplete, or of a format version edgecap does not read."""


class IntegrityError(BundleError):
    """A file of the bundle is missing, altered, or lies outside the bundle's folder."""


class MissingDependencyError(EdgecapError):
    """A library or an optional extra is needed and not installed."""

    exit_code = 5

    @classmethod
    def for_extra(cls, what: str, extra: str) -> MissingDependencyError:
        """The error for `what` needing the extra `extra`; its message says what to type."""
        return cls(f'{what} needs packages that are not installed; type: pip install "edgecap[{extra}]"')


class DeviceError(EdgecapError):
    """A capture device is missing, busy, or refuses the request."""

    exit_code = 6


class OutputError(EdgecapError):
    """A result could not be written (disk full, read-only, not permitted) or served (the port is taken)."""

    exit_code = 7


class CheckpointError(EdgecapError):
    """A checkpoint is incomplete or wrong; the message names the first tensor at fault."""

    exit_code = 8


class VerificationError(EdgecapError):
    """An exported graph does not reproduce the PyTorch model."""

    exit_code = 9


class ShapeMismatchError(VerificationError):
    """An output of an exported graph has another shape than PyTorch's."""


class ToleranceError(VerificationError):
    """An output of an exported graph differs from PyTorch's by more than its tolerance."""


class BusyMachineError(EdgecapError):
    """The machine is too busy for a measurement to mean something."""

    exit_code = 10


class ServiceError(EdgecapError):
    """systemd refused a call, or did not answer."""

    exit_code = 11


class DataError(EdgecapError):
    """Data other than sound cannot be used."""

    exit_code = 12


class TableError(DataError):
    """A table of captions or sounds is missing or malformed; the message names the row or the column."""


class TrainingDataError(DataError):
    """Training data are missing, damaged or do not fit the recipe."""


class ResultError(DataError):
    """A file of measured results is missing, damaged, or of another format or version."""


class RunError(EdgecapError):
    """Long work could not go on."""

    exit_code = 13


class TrainingError(RunError):
    """A training run diverged, or cannot be resumed."""


class MeasurementError(RunError):
    """A measuring process failed, or did not answer."""
