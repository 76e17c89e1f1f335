"""`edgecap export --web`: a bundle to a page without a server. Without torch and onnx, its graphs stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import typer

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.cli.console import say, write
from edgecap.errors import MissingDependencyError
from edgecap.util.files import to_json
from edgecap_export.output_paths import check_free, check_writable
from edgecap_export.web.graphs import page_bundle
from edgecap_export.web.onnxruntime_web import OPTION, PACKAGE, onnxruntime_web
from edgecap_export.web.site import WORKER, check_bundle, write_site


def export_web(
    model: str | None, output: Path | None, *, runtime: Path | None, others: Sequence[str], force: bool, json: bool
) -> None:
    """Write the page of a bundle and say how much a browser loads of it.

    `runtime` is a copy of onnxruntime-web, `others` are options that were given and have no meaning for a page. Raises
    BadParameter for one, ConfigError for a bundle that a browser cannot run, OutputError, DownloadError.
    """
    if OPTION in others:
        raise typer.BadParameter("only a page has that library; add --web", param_hint=OPTION)
    if others:
        raise typer.BadParameter(
            f"the page has the graphs of a bundle as they are, so {others[0]} has no effect; make that bundle first, "
            "and name it: edgecap export BUNDLE --web",
            param_hint="--web",
        )
    bundle = load_bundle(find_model(model))
    check_bundle(bundle)
    folder = output or Path(f"{bundle.manifest.name}-web")
    check_free(folder, force, "page", WORKER)
    check_writable(folder)
    say("note", f"getting {PACKAGE} …")
    contents = onnxruntime_web(runtime)
    with ExitStack() as stack:
        try:
            bundle = stack.enter_context(page_bundle(bundle))
        except MissingDependencyError as error:
            say("note", f"the page takes the bundle's own graphs, which are slower in a browser: {error}")
        site = write_site(bundle, contents, folder, replace=folder.exists())
    if json:
        write(to_json({"site": str(folder), "bytes": site.size, "files": len(site.files), "version": site.version}))
        return
    write(f"{bundle.manifest.name} in {bundle.manifest.precision}: {site.size / 1e6:.1f} MB in {len(site.files)} files")
    write(f"To try it: python3 -m http.server --bind 127.0.0.1 --directory {folder} 8643, then http://127.0.0.1:8643")
    write(str(folder))
