"""Opens the sinks of a configuration. Their table is `OutputConfig` of `edgecap.live.config.listen_config`.

To add a sink, write a module with a `Sink` and a function that takes a `SinkContext`, and add an `option` that names
the function to that table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module

from edgecap.errors import OutputError
from edgecap.live.config.config_file import config_keys
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.options import Option
from edgecap.live.config.rule_config import PRINT
from edgecap.live.sinks.base import Sink, SinkContext
from edgecap.live.sinks.guard import GuardedSink


def configured(config: ListenConfig) -> list[tuple[Option, str]]:
    """The sinks that a configuration asks for, each with the value of its key; those that store events first."""
    options = [
        (key.option, str(value))
        for key in config_keys()
        if key.option and key.option.sink and (value := getattr(getattr(config, key.section), key.name)) is not None
    ]
    return sorted(options, key=lambda pair: not pair[0].stores)


def open_sinks(context: SinkContext, views: Sequence[Sink]) -> Iterator[GuardedSink]:
    """Open them one by one, guarded; `views` come after those that store, so that nothing is shown unless stored.

    An OutputError of a view ends the listener: it is what the user looks at. Raises OutputError, ConfigError,
    MissingDependencyError.
    """
    options = [option for option, _ in configured(context.config)]
    yield from (_guarded(option, context) for option in options if option.stores)
    for view in views:
        open_view = partial(_opened, view)
        yield GuardedSink("the view", open_view, context.notify, output=PRINT, fatal=(OutputError,), again=False)
    yield from (_guarded(option, context) for option in options if not option.stores)


def _opened(view: Sink) -> Sink:
    return view


def _guarded(option: Option, context: SinkContext) -> GuardedSink:
    return GuardedSink(option.flags[0], lambda: _open(option, context), context.notify, output=option.output)


def _open(option: Option, context: SinkContext) -> Sink:
    module, _, function = option.sink.partition(":")
    path = module if "." in module else f"edgecap.live.sinks.{module}"
    sink: Sink = getattr(import_module(path), function)(context)
    return sink
