"""The command line. A command parses, calls and prints; everything it calls is in the API.

Results go to standard output, all else to standard error. An error is one line and an exit code
(`edgecap.errors`); a traceback appears only if EDGECAP_DEBUG is set.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from edgecap._version import __version__
from edgecap.cli.console import COMPLETION, full_disk, prepare_streams, say, write
from edgecap.cli.signals import end_on_second_signal, leave
from edgecap.errors import EdgecapError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    prepare_streams()
    if sys.argv[1:2] == ["listen"]:
        from edgecap.util.allocator import use_one_arena

        use_one_arena()  # before any thread
    end_on_second_signal()
    leave(run(sys.argv[1:]), at_once=sys.argv[1:2] == ["caption"])


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    try:
        _call(arguments)
    except SystemExit as end:  # how a command ends, with success as well
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except EdgecapError as error:
        return report(error)
    except OSError as error:
        known = full_disk(error)
        return report(known) if known else _report_unexpected(error)
    except Exception as error:  # the last resort: no traceback for people who just want a caption
        return _report_unexpected(error)
    return 0


def report(error: EdgecapError) -> int:
    """Print an error as one line; its exit code."""
    say("error", str(error))
    if os.environ.get("EDGECAP_DEBUG"):
        traceback.print_exc()
    return error.exit_code


def _call(arguments: Sequence[str]) -> None:
    """Run one command line; plain ones without Typer, which takes longer than a caption."""
    if arguments == ["--version"]:
        write(f"edgecap {__version__}")
        return
    if arguments[:1] == ["caption"] and COMPLETION not in os.environ:
        from edgecap.cli.caption_files import caption_files, plain_arguments

        plain = plain_arguments(arguments[1:])
        if plain is not None:
            caption_files(**plain)
            return
    if arguments[:1] == ["listen"] and COMPLETION not in os.environ:
        from edgecap.cli.live.listening import plain_options, run_listener
        from edgecap.live.config.config_file import load_config

        options = plain_options(arguments[1:])
        if options is not None:
            run_listener(load_config(*options))
            return
    if arguments[:1] == ["pull"] and COMPLETION not in os.environ:
        from edgecap.cli.getting.pull_model import plain_arguments as plain_pull
        from edgecap.cli.getting.pull_model import pull_model

        plain = plain_pull(arguments[1:])
        if plain is not None:
            pull_model(**plain)
            return
    from edgecap.cli.app import build_app

    build_app(arguments)(list(arguments), prog_name="edgecap")


def _report_unexpected(error: Exception) -> int:
    if isinstance(error, MemoryError):
        return report(EdgecapError("there is not enough memory; end other programs, or raise the limit (MemoryMax=)"))
    name, advice = type(error).__name__, "set EDGECAP_DEBUG=1 and run it again for the traceback"
    return report(EdgecapError(f"unexpected {name}: {error}; this is a bug in edgecap: {advice}"))
