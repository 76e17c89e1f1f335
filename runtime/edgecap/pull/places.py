"""Where files lie: https addresses, and hf:// for a file in a repository of the Hugging Face hub or of a mirror.

A place is written independently of mirrors, so that what was pinned for it holds whichever server answers.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from edgecap.errors import ConfigError, DownloadError
from edgecap.util.parsing import host_of

HUB = "https://huggingface.co"
HUB_PLACE = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?))?/(?P<file>[\w.-]+)")
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
MAIN = "main"


@dataclass(frozen=True)
class Network:
    """How the network may be used."""

    offline: bool = False
    """Use nothing but what is in the cache."""
    mirror: str = ""
    """Base address that stands in for the hub's; empty for HF_ENDPOINT, or the hub itself."""
    insecure: bool = False
    """Allow http:// to hosts other than this machine."""

    @property
    def endpoint(self) -> str:
        """Base address of the hub or its mirror. Raises ConfigError where it may not be used."""
        base = (self.mirror or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.check(base)
        return base

    def check(self, url: str) -> None:
        """Raise ConfigError for an address that is invalid, or http where that is not allowed."""
        host = host_of(url)
        if url.startswith("http://") and not (self.insecure or is_loopback(host)):
            raise ConfigError(f"{url} is not encrypted; use https://, or add --insecure where you trust the network")

    def check_redirect(self, origin: str, target: str) -> None:
        """Raise DownloadError for a redirect that leaves https, or leads to where this machine was not asked to go."""
        try:
            host = host_of(target)
        except ConfigError as error:
            raise DownloadError(f"{host_of(origin)} redirects to an address that cannot be used: {error}") from error
        if target.startswith("https://"):
            return
        if origin.startswith("http://") and (self.insecure or host == host_of(origin)):
            return
        raise DownloadError(f"{host_of(origin)} redirects to {host} without encryption; it is not followed")

    def url(self, place: str) -> str:
        """The address of a place. Raises ConfigError."""
        if place.startswith("hf:"):
            hub = hub_file(place)
            return f"{self.endpoint}/{hub.repository}/resolve/{quote(hub.revision, safe='')}/{quote(hub.file)}"
        self.check(place)
        return place


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the hub."""

    repository: str
    revision: str
    file: str


def hub_file(place: str) -> HubFile:
    """The parts of hf://OWNER/REPOSITORY[@REVISION]/FILE. Raises ConfigError."""
    match = HUB_PLACE.fullmatch(place)
    if match is None or ".." in place:
        raise ConfigError(f"invalid place {place!r}; use hf://OWNER/REPOSITORY/FILE")
    return HubFile(match["repository"], match["revision"] or MAIN, match["file"])


def hub_repository(name: str) -> str | None:
    """ "OWNER/REPOSITORY[@REVISION]" where `name` is that, hf://… or a repository's page on the hub; else None."""
    bare = name.removeprefix("hf://").removeprefix(f"{HUB}/").rstrip("/")
    if (bare == name.rstrip("/") and "://" in name) or ".." in bare:
        return None
    repository, _, revision = bare.partition("@")
    return bare if REPOSITORY.fullmatch(repository) and re.fullmatch(r"[\w.-]*", revision) else None


def beside(place: str, file: str) -> str:
    """The place of another file in the same folder."""
    return f"{place.rpartition('/')[0]}/{file}"


def relative(base: str, place: str) -> str:
    """`place`, which may be relative to the address `base`."""
    return place if "://" in place else urljoin(base, place)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown(url: str) -> str:
    """An address for messages, without its query, which may hold a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
