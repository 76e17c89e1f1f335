"""What `edgecap models` and `edgecap devices` print: the models and microphones that edgecap can use."""

from __future__ import annotations

from dataclasses import asdict

from edgecap.bundle.models import Model, default_model, home, list_models
from edgecap.cli.console import say, table, write
from edgecap.cli.options import Json
from edgecap.errors import BundleError
from edgecap.util.files import to_json


def list_installed(json: bool) -> None:
    """Print the installed models, as a table or as JSON."""
    try:
        default = default_model()
    except BundleError:
        default = None
    listed = list_models()
    documents = [_document(model, model.folder == default) for model in listed]
    rows = [_row(model, model.folder == default) for model in listed]
    _show(["NAME", "SIZE", "RUNTIME", "LICENCE", "PLACE"], rows, documents if json else None)
    if not listed:
        say("note", f"no models in {home() / 'models'}; type: edgecap pull")


def devices(json: Json = False) -> None:
    """List the microphones.

    A star marks the default one. Numbers change when something is plugged in; names stay.
    """
    from edgecap.audio.captured import sound_system

    listed = sound_system().devices
    rows = []
    for device in listed:
        number = f"{device.index} *" if device.default else f"{device.index}"
        rows.append([number, device.name, f"{device.channels}", f"{device.sample_rate:g} Hz", device.host])
    _show(
        ["NUMBER", "NAME", "CHANNELS", "RATE", "SYSTEM"], rows, [asdict(device) for device in listed] if json else None
    )
    if not listed:
        say("note", "no microphone; plug one in")


def _show(header: list[str], rows: list[list[str]], documents: list[dict[str, object]] | None) -> None:
    """Print the documents as JSON where there are some, else the rows as a table; nothing for no rows."""
    if documents is not None:
        lines = [to_json(document) for document in documents]
    else:
        lines = table(header, rows) if rows else []
    for line in lines:
        write(line)


def _row(model: Model, default: bool) -> list[str]:
    name = f"{model.name} *" if default else model.name
    if model.manifest is None:
        return [name, "?", "?", "?", f"{model.folder}: {model.fault}"]
    manifest = model.manifest
    runtime = f"{manifest.runtime} {manifest.precision}"
    return [name, f"{model.size / 1e6:.1f} MB", runtime, manifest.licence.name, str(model.folder)]


def _document(model: Model, default: bool) -> dict[str, object]:
    manifest = model.manifest
    return {
        "name": model.name,
        "folder": str(model.folder),
        "bundled": model.bundled,
        "default": default,
        "size": model.size if manifest else None,
        "runtime": manifest.runtime if manifest else None,
        "precision": manifest.precision if manifest else None,
        "licence": manifest.licence.name if manifest else None,
        "notice": manifest.licence.notice if manifest else None,
        "metrics": manifest.metrics if manifest else {},
        "fault": model.fault or None,
    }
