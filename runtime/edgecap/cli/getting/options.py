"""Options of the commands that get models."""

from __future__ import annotations

from typing import Annotated

import typer

Mirror = Annotated[
    str,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Base address in place of https://huggingface.co. [default: EDGECAP_MIRROR or HF_ENDPOINT]",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network: what is in the cache, or nothing.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Allow http:// to other machines; hashes are still checked.")
]
Stall = Annotated[
    float, typer.Option("--stall", min=0.1, metavar="SECONDS", help="Give up a connection that is silent for so long.")
]
Total = Annotated[float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="Most time for one file.")]
