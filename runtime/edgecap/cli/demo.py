"""`edgecap demo`: a web page that captions dropped sound files."""

from __future__ import annotations

from typing import Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.cli.options import BeamSize, Model, Threads


def demo(
    *,
    web: Annotated[
        str | None,
        typer.Option(
            "--web",
            metavar="[HOST:]PORT",
            help="Where to serve it: on this machine only, or with a token "
            "if a host such as 0.0.0.0 is named. [default: 8642]",
        ),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Visitors need the token in the first line of this file. [default: a new one, where one is needed]",
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    beam: BeamSize = None,
    model: Model = None,
    threads: Threads = None,
) -> None:
    """Serve a web page that captions dropped sound files.

    It also captions a few seconds of the browser's microphone, and shows all beams with their scores. The command
    prints the page's address, and serves until Ctrl-C or SIGTERM. Sounds are held in memory while they are captioned
    and never stored. Browsers allow their microphone only on localhost and with https.

    \b
    Examples:
      edgecap demo --open
      edgecap demo --web 0.0.0.0:8642
    """
    from edgecap.captioner import Captioner
    from edgecap.cli.signals import stop_on_signals
    from edgecap.live.config.config_file import load_config
    from edgecap.teaching.own import with_own_sounds
    from edgecap.web.demo import Demo

    stop = stop_on_signals()
    config = load_config(None, {"web": {"address": web, "token_file": token_file}}).web
    captioner = with_own_sounds(Captioner.load(model, threads=threads), say)
    with Demo(config, captioner, say, beam=beam) as page:
        write(page.url)
        say("note", "Ctrl-C stops")
        if open_:
            import webbrowser

            if not webbrowser.open(page.url):
                say("warning", f"no browser could be started; open {page.url} yourself")
        stop.wait()
