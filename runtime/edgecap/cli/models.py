"""`edgecap models`: which models are here."""

from __future__ import annotations

from edgecap.bundle.models import Model, default_model, home, list_models
from edgecap.cli.console import say, table, write
from edgecap.cli.options import Json
from edgecap.errors import BundleError
from edgecap.util.files import to_json


def models(json: Json = False) -> None:
    """Show the models in the package and in your own folder: name, size, licence, place.

    Your own folder is "models" in EDGECAP_HOME, or else in ~/.local/share/edgecap. Where both places have a model of
    one name, yours is used. A star marks the model used where none is named.
    """
    found = list_models()
    try:
        default = default_model()
    except BundleError:
        default = None
    if json:
        for model in found:
            write(to_json(_document(model, model.folder == default)))
    elif found:
        rows = [_row(model, model.folder == default) for model in found]
        for line in table(["NAME", "SIZE", "RUNTIME", "LICENCE", "PLACE"], rows):
            write(line)
    if not found:
        say("note", f"no models here; put bundles into {home() / 'models'}")


def _row(model: Model, default: bool) -> list[str]:
    name = f"{model.name} *" if default else model.name
    if model.manifest is None:
        return [name, "?", "?", "?", f"{model.folder}: {model.fault}"]
    manifest = model.manifest
    return [
        name,
        f"{model.size / 1e6:.1f} MB",
        f"{manifest.runtime} {manifest.precision}",
        manifest.licence.name,
        str(model.folder),
    ]


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
