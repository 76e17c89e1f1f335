"""What makes the page work behind a proxy: relative addresses, and names with and without their port."""

from __future__ import annotations

import re

import pytest

from edgecap.web.access import AccessPolicy
from edgecap.web.server import FOLDER


def test_no_file_of_the_page_names_an_absolute_path() -> None:
    absolute = re.compile(r"""(?:href|src|action)="/|(?:fetch|EventSource|addModule|Worker)\(["'`]/|url\(["']?/""")
    files = [path for path in FOLDER.iterdir() if path.suffix in {".html", ".js", ".css"}]
    assert [path.name for path in files if absolute.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("configured", "origin", "own"),
    [
        ("sounds.example", "https://sounds.example", True),
        ("sounds.example", "https://sounds.example:8443", True),
        ("Sounds.example:8443", "https://sounds.example:8443", True),
        ("sounds.example:8443", "https://sounds.example:9", False),
        ("sounds.example:443", "https://sounds.example", True),
        ("192.168.1.7:8443", "https://192.168.1.7:8443", True),
        ("sounds.example", "https://evil.example", False),
        ("sounds.example", "https://sounds.example.evil.example", False),
    ],
)
def test_a_configured_name_counts_with_and_without_its_port(configured: str, origin: str, own: bool) -> None:
    policy = AccessPolicy("127.0.0.1", None, [configured])
    assert policy.knows(configured)
    assert policy.knows(configured.partition(":")[0])
    assert policy.is_own(origin, "127.0.0.1:8080") is own
