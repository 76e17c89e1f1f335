"""The bytecode of an installed package: an installer compiles it, and a checkout whose files nobody compiled starts
slower, and takes more memory, than what is measured.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache


@cache
def compiled() -> dict[str, str]:
    """Variables of programs that keep and share their bytecode until this process ends, whatever its own variables."""
    folder = tempfile.mkdtemp(prefix="edgecap-bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}


def installed_environment() -> dict[str, str]:
    """The variables of a program that is measured as it runs where it is installed."""
    return {**os.environ, **compiled()}
