"""`edgecap models`: lists the installed models, and adds, removes, verifies and updates them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgecap.cli.console import say, write
from edgecap.cli.getting.fetching import STALL, TOTAL, fetching
from edgecap.cli.getting.options import Insecure, Mirror, Offline, Stall, Total
from edgecap.cli.inventory import list_installed
from edgecap.cli.options import Json, model_names
from edgecap.errors import BundleError, EdgecapError
from edgecap.util.files import to_json
from edgecap.util.text import clean

models = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]…", autocompletion=model_names, help="Models. [default: all]")
]


@models.callback()
def listing(context: typer.Context, json: Json = False) -> None:
    """List the models, or change those in your own folder.

    Your own folder is "models" in EDGECAP_HOME, or else in ~/.local/share/edgecap. Of two models with one name, the one
    in your folder is used. A star marks the default model. edgecap pull gets models from the net.
    """
    if context.invoked_subcommand is None:
        list_installed(json)


@models.command()
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A bundle, as edgecap import and export write it.")],
    *,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Name of the model. [default: the bundle's]")
    ] = "",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a model of that name.")] = False,
) -> None:
    """Copy a bundle into your own folder, after all its files were checked."""
    from edgecap.bundle.bundle import read_manifest
    from edgecap.pull.installed import check_free, copy_bundle, install

    name = name or read_manifest(folder).name
    check_free(name, force)
    bundle = install(name, lambda target: copy_bundle(folder, target), None, replace=force, notify=say)
    write(str(bundle.folder))
    say("note", f"type: edgecap caption --model {name} FILE")


@models.command()
def remove(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", autocompletion=model_names, help="Models in your own folder.")
    ],
) -> None:
    """Remove models from your own folder, with what the cache holds of them."""
    from edgecap.pull.installed import own_folder
    from edgecap.pull.installed import remove as remove_model

    for name in names:
        own_folder(name)
    for name in names:
        write(str(remove_model(name, say)))


@models.command()
def verify(names: Names = None, json: Json = False) -> None:
    """Hash every file again, and compare it with the manifest and with what was pulled. Exit code 4 if one is wrong."""
    from edgecap.bundle.models import find_model, list_models
    from edgecap.pull.installed import verify as verify_model

    faults = 0
    for name in names or [model.name for model in list_models()]:
        try:
            result, fault = verify_model(find_model(name)), False
        except BundleError as error:
            result, fault = str(error), True
        faults += fault
        write(
            to_json({"name": name, "right": not fault, "says": result}) if json else f"{clean(name)}: {clean(result)}"
        )
    if faults:
        raise typer.Exit(BundleError.exit_code)


@models.command()
def update(
    names: Names = None,
    *,
    mirror: Mirror = "",
    offline: Offline = False,
    insecure: Insecure = False,
    stall: Stall = STALL,
    timeout: Total = TOTAL,
) -> None:
    """Get the newest form of models that were pulled. One that cannot be updated stays as it is."""
    from edgecap.bundle.models import list_models
    from edgecap.pull.installed import own_folder, read_origin
    from edgecap.pull.pull import PullRequest, pull

    own = [model.name for model in list_models() if not model.bundled]
    last: EdgecapError | None = None
    for name in names or [name for name in own if read_origin(own_folder(name))]:
        origin = read_origin(own_folder(name))
        if origin is None:
            raise BundleError(f"{name!r} was not pulled, so nobody knows where it came from; add it again by hand")
        request = PullRequest(what=origin.what, name=name, catalogue=origin.catalogue, precision=origin.precision)
        try:
            with fetching(mirror, offline, insecure, stall, timeout, update=True) as fetcher:
                pulled = pull(request, fetcher)
        except EdgecapError as error:
            if last is not None:
                say("error", str(last))
            last = error
            continue
        write(f"{clean(name)}: {'updated' if pulled.bundle else 'up to date'}")
    if last is not None:
        raise last
