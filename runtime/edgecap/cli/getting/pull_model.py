"""A model from the net into the user's folder: the work of `edgecap pull`.

Most command lines have a name or an address and one or two options with plain values. They are read here, without
Typer, as those of `edgecap caption`. Every other line, wrong ones among them, goes to Typer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgecap.cli.console import say, write
from edgecap.cli.getting.fetching import STALL, TOTAL, fetching
from edgecap.pull.pull import PullRequest, pull
from edgecap.util.files import to_json

_SWITCHES = {
    **{f"--{name}": name for name in ("int8", "commercial", "force", "offline", "insecure", "json")},
    "-f": "force",
}
_TEXTS = {f"--{name}": name for name in ("name", "catalogue", "mirror")}


def plain_arguments(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of `pull_model` for a plain command line behind "edgecap pull"; None for any other."""
    names, options, rest = list[str](), dict[str, Any](), iter(arguments)
    for word in rest:
        if not word.startswith("-"):
            names.append(word)
        elif word in _SWITCHES:
            options[_SWITCHES[word]] = True
        else:
            name, value = _TEXTS.get(word), next(rest, "-")
            if name is None or value.startswith("-"):
                return None
            options[name] = value
    return {"what": names[0], **options} if len(names) == 1 else None


def pull_model(
    what: str,
    *,
    name: str = "",
    int8: bool = False,
    catalogue: str = "",
    commercial: bool = False,
    force: bool = False,
    mirror: str = "",
    offline: bool = False,
    insecure: bool = False,
    stall: float = STALL,
    timeout: float = TOTAL,
    json: bool = False,
) -> None:
    """Get a model as `edgecap pull --help` says. Raises the errors of `pull`."""
    request = PullRequest(
        what=what,
        name=name,
        catalogue=catalogue,
        precision="int8" if int8 else "fp32",
        commercial=commercial,
        replace=force,
    )
    with fetching(mirror, offline, insecure, stall, timeout) as fetcher:
        pulled = pull(request, fetcher)
    if pulled.bundle is None:
        say("note", f"{pulled.name} is there already; type: edgecap models update {pulled.name}, or pull --force")
    else:
        licence = pulled.bundle.manifest.licence
        say("note", f"{pulled.name} is under {licence.name}. {licence.notice}".rstrip())
        say("note", f"type: edgecap caption --model {pulled.name} FILE")
    document = {"name": pulled.name, "folder": str(pulled.folder), "new": pulled.bundle is not None}
    write(to_json(document) if json else str(pulled.folder))
