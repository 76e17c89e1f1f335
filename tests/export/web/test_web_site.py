"""The page without a server in a real headless Chromium: sounds, the microphone, no network, and what goes wrong."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium.webdriver import Chrome

from edgecap.bundle.bundle import load_bundle
from edgecap.bundle.models import find_model
from edgecap.captioner import Captioner
from edgecap.errors import ConfigError
from edgecap.live.config.listen_config import ListenConfig
from edgecap.live.config.web_config import WebConfig
from edgecap.web.page import LivePage
from edgecap_export.web.onnxruntime_web import onnxruntime_web
from edgecap_export.web.site import Site, check_bundle, write_site
from support.live_parts import ignore
from support.node_parts import axe, web_runtime
from support.web_parts import browsing, change, open_page, requests, status, text, until

EXAMPLES = Path(__file__).parents[3] / "examples"
SOUNDS = sorted(path for path in EXAMPLES.iterdir() if path.suffix in {".wav", ".flac", ".ogg", ".opus", ".mp3"})
PATIENCE = 120.0
"""Of a browser on a busy machine, with the model and the picture."""
BEFORE = "Page.addScriptToEvaluateOnNewDocument"
Serve = Callable[[Path], str]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return web_runtime(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="module")
def site(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    bundle = load_bundle(find_model(None))
    return write_site(bundle, onnxruntime_web(runtime), tmp_path_factory.mktemp("pages") / "captions")


@pytest.fixture
def server() -> Iterator[Callable[[Path], ThreadingHTTPServer]]:
    """Servers of a folder, as any server of files has them."""
    servers: list[ThreadingHTTPServer] = []

    def serve(folder: Path) -> ThreadingHTTPServer:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield serve
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A browser that has seen nothing; its microphone hears the dog of the examples."""
    samples, rate = soundfile.read(EXAMPLES / "dog.ogg", dtype="float32")
    soundfile.write(tmp_path / "dog.wav", samples, rate, subtype="PCM_16")
    with browsing(
        tmp_path / "profile",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'dog.wav'}",
    ) as opened:
        yield opened


def address(server: ThreadingHTTPServer, folder: Path) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{folder.name}/"


def opened(browser: Chrome, url: str) -> None:
    """Open the page and wait until it is ready, or has said why not."""
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(url)
    until(lambda: browser.execute_script("return 'ready' in document.documentElement.dataset"), PATIENCE)


def captioned(browser: Chrome, path: Path) -> list[str]:
    """Give the page a file; the texts of its captions, or what the page says where there are none."""
    before = len(browser.find_elements("css selector", "#captions > li"))
    browser.find_element("id", "file").send_keys(str(path))
    said = until(
        lambda: (now := text(browser, "#progress")).startswith(path.name) and not now.endswith("…") and now, PATIENCE
    )
    if len(browser.find_elements("css selector", "#captions > li")) == before:
        return [str(said)]
    captions = browser.find_elements("css selector", "#captions > li:first-child .list > li > .text")
    return [str(one.get_attribute("textContent")) for one in captions]


def serious(browser: Chrome) -> list[str]:
    """What axe-core finds that keeps some people from using the page."""
    browser.execute_script(axe())
    results: dict[str, Any] = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(({ violations }) => done({ violations }));"
    )
    return [
        f"{one['id']}: {node['html']}"
        for one in results["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def wrong(browser: Chrome) -> list[str]:
    """Errors on the console, refusals by the page's policy among them."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_page_captions_as_python_does_and_needs_no_network_afterwards(
    site: Site, server: Callable[[Path], ThreadingHTTPServer], browser: Chrome
) -> None:
    files = server(site.folder.parent)
    url = address(files, site.folder)
    opened(browser, url)
    assert text(browser, "#connection") == "ready"
    captioner = Captioner.load(threads=1)
    expected = {path.name: [one.text for one in captioner.caption_file(path)] for path in SOUNDS}
    result = {path.name: captioned(browser, path) for path in SOUNDS}
    assert {name: len(texts) for name, texts in result.items()} == {name: len(some) for name, some in expected.items()}
    # int8 rounds differently in another processor's kernels; float32 is exact (test_web_modules.py)
    different = [name for name, texts in result.items() if texts != expected[name]]
    assert len(different) <= 0.1 * len(SOUNDS), different
    asked = requests(browser)
    assert [one for one in asked if not one.startswith(url)] == []
    assert wrong(browser) == []
    assert browser.execute_cdp_cmd("Page.getInstallabilityErrors", {})["installabilityErrors"] == []
    files.shutdown()
    files.server_close()
    opened(browser, url)
    assert captioned(browser, EXAMPLES / "dog.ogg") == result["dog.ogg"]


def test_the_microphone_is_captioned_live_and_the_page_is_open_to_all(
    site: Site, server: Callable[[Path], ThreadingHTTPServer], browser: Chrome, captioner: Captioner
) -> None:
    opened(browser, address(server(site.folder.parent), site.folder))
    button = browser.find_element("id", "start")
    button.click()
    until(lambda: "dog" in text(browser, "#caption"), PATIENCE)
    assert text(browser, "#connection") == "listening"
    assert not browser.find_element("id", "canvas").get_attribute("hidden")
    assert serious(browser) == []
    button.click()
    until(lambda: browser.find_elements("css selector", "#heard-list .ended"))
    assert browser.find_elements("css selector", "#heard-list .open") == []
    assert "dog" in text(browser, "#heard-list .ended .text")
    assert (text(browser, "#connection"), text(browser, "#start"), wrong(browser)) == ("ready", "Listen", [])
    captioned(browser, EXAMPLES / "dog.ogg")
    assert serious(browser) == []
    # the live page, of which this one has most parts
    page = LivePage(ListenConfig(web=WebConfig(address="0")), captioner, ignore)
    try:
        page.on_status(status())
        page.on_event(change("end", 1, "rain falls"))
        open_page(browser, page.url)
        until(lambda: text(browser, "#connection") == "live")
        assert serious(browser) == []
    finally:
        page.close()


def test_what_is_wrong_is_told_on_the_page(
    site: Site, server: Callable[[Path], ThreadingHTTPServer], browser: Chrome, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site.folder, broken)
    (broken / "model" / "encode.onnx").write_bytes(b"no graph")
    opened(browser, address(server(tmp_path), broken))
    assert re.match(r"The model does not load \(.+\)\. Reload the page", text(browser, "#problem"))

    refuse = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
    script = browser.execute_cdp_cmd(BEFORE, {"source": refuse})
    url = address(server(site.folder.parent), site.folder)
    opened(browser, url)
    browser.find_element("id", "start").click()
    said = until(lambda: text(browser, "#problem"))
    assert said.startswith("The browser was not allowed to use the microphone. Allow it")
    assert text(browser, "#start") == "Listen"
    (tmp_path / "silent.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    assert captioned(browser, tmp_path / "silent.mp4") == [
        "silent.mp4 has no sound that this browser can read; try it as wav, flac, ogg or mp3."
    ]
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    assert captioned(browser, tmp_path / "empty.wav")[0].startswith("empty.wav has no sound")

    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    browser.execute_cdp_cmd(BEFORE, {"source": "WebAssembly.validate = () => false;"})
    opened(browser, url)
    assert text(browser, "#problem").startswith("This browser has no WebAssembly SIMD")
    assert browser.find_element("id", "start").get_attribute("disabled")


def test_a_site_is_complete_names_no_other_host_and_changes_its_version_with_its_content(
    site: Site, runtime: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    files = {str(path.relative_to(site.folder)) for path in site.folder.rglob("*") if path.is_file()}
    assert files == {*site.files, ".nojekyll"}
    assert site.size <= 12e6
    for path in [*site.folder.glob("*.js"), site.folder / "index.html"]:
        written = path.read_text()
        assert "://" not in written.replace("http://www.w3.org/2000/svg", ""), path
        named = re.findall(r'(?:from |Worker\(|addModule\(|href=|src=)"(?:\./)?([\w./-]+)"', written)
        assert [name for name in named if name not in files and not name.startswith("#")] == [], path
    listed = json.loads((site.folder / "sw.js").read_text().split("const FILES = ")[1].split(";\n")[0])
    assert {*listed, "sw.js"} == set(site.files)
    other = write_site(load_bundle(tiny_folder), onnxruntime_web(runtime), tmp_path / "other")
    again = write_site(load_bundle(tiny_folder), onnxruntime_web(runtime), tmp_path / "again")
    assert site.version != other.version == again.version


def test_a_bundle_that_no_browser_runs_is_refused(tiny_folder: Path) -> None:
    bundle = load_bundle(tiny_folder)
    waveform = replace(bundle.manifest, encoder=replace(bundle.manifest.encoder, input="waveform"))
    for manifest in (waveform, replace(bundle.manifest, runtime="litert")):
        with pytest.raises(ConfigError, match="name such a bundle, as edgecap export --int8 makes it"):
            check_bundle(replace(bundle, manifest=manifest))


def test_the_command_writes_the_page_and_refuses_what_has_no_effect(
    edgecap: Callable[..., Any], tiny_folder: Path, runtime: Path, tmp_path: Path
) -> None:
    command = ["export", tiny_folder, "--web", "-o", tmp_path / "site", "--onnxruntime-web"]
    done = edgecap(*command, runtime, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["bytes"] == sum(p.stat().st_size for p in (tmp_path / "site").rglob("*") if p.is_file())
    again = edgecap(*command, runtime)
    assert again.returncode == 7
    assert "add --force to replace the page" in again.stderr
    other = edgecap(*command, tmp_path / "site", "--force")
    assert other.returncode == 4
    assert "ort.wasm.bundle.min.mjs" in other.stderr
    assert "is missing from that of onnxruntime-web@" in other.stderr
    assert (tmp_path / "site" / "index.html").is_file()
    several = edgecap("export", "--web", "--int8", "-o", tmp_path / "no")
    assert several.returncode == 2
    assert "--int8 has no effect" in " ".join(several.stderr.split())
