"""Who may request the page, and under which host names.

Three rules, checked before anything else. The Host header must be an address or a name of this machine,
so that a web site cannot reach the page by pointing its name here (DNS rebinding). Where other machines may connect, a
token is required, which a cookie then carries. A POST must come from the page itself: from the address that the browser
requested, or from a configured name, where a proxy passes on another Host.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable

from edgecap.errors import ConfigError
from edgecap.live.config.config_file import read_secret
from edgecap.live.config.web_config import TOKEN, WebConfig
from edgecap.types import Notify
from edgecap.util.http.http_server import HOST, names_this_machine, own_names

COOKIE_SECONDS = 180 * 86_400


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is served at `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def web_token(config: WebConfig, host: str, notify: Notify) -> str | None:
    """The token that requests need: the configured one, a new one where other machines may connect, else none.

    Raises ConfigError for a token file that cannot be read or holds an invalid token.
    """
    if config.token_file is not None:
        token = read_secret(config.token_file, "token", notify).strip()
        if not re.match(TOKEN, token):
            raise ConfigError(
                f"the token in {config.token_file} is not 12 to 128 letters, digits or . _ ~ - ; type: "
                f"(umask 077; openssl rand -hex 16 > {config.token_file})"
            )
        return token
    if config.token is not None or is_loopback(host):
        return config.token
    return secrets.token_urlsafe(18)


class AccessPolicy:
    """The rules for one server."""

    def __init__(
        self,
        host: str,
        token: str | None,
        names: Iterable[str] = (),
        *,
        frames: Iterable[str] = (),
        ingress: str | None = None,
    ) -> None:
        """`host` is where it listens; `names` are further host names of the page, with or without port.

        `frames` are origins that may show it in a frame. `ingress` is the address of a proxy that checks its visitors
        itself and serves the page below its own origin, whose pages may show it in a frame too.
        """
        self.token = token
        self._ingress = None if ingress is None else ipaddress.ip_address(ingress)
        self.ancestors = [*frames, *(["'self'"] if ingress is not None else [])]
        """Sources of the directive frame-ancestors."""
        self._proxies = {name.lower() for name in names}
        self._names = own_names(host, self._proxies)

    def trusts(self, peer: str) -> bool:
        """Whether a connection comes from the trusted proxy: neither its Host header nor a token is asked for."""
        if self._ingress is None:
            return False
        address = ipaddress.ip_address(peer.partition("%")[0])
        return self._ingress in {address, getattr(address, "ipv4_mapped", None)}

    def knows(self, host: str | None) -> bool:
        """Whether a Host header names this machine."""
        return names_this_machine(host, self._names)

    def is_own(self, origin: str | None, host: str | None) -> bool:
        """Whether an Origin header is that of the page, by http or (through a proxy) https.

        It is where its name and port are those of the Host header, or where it is a configured name of the page, at the
        configured port where there is one.
        """
        scheme, _, address = (origin or "").lower().partition("://")
        match = HOST.fullmatch(address)
        if not host or scheme not in {"http", "https"} or match is None:
            return False
        names = {address, match[1], match[1].strip("[]"), f"{address}:{80 if scheme == 'http' else 443}"}
        return address == host.lower() or not self._proxies.isdisjoint(names)

    def fits(self, token: str) -> bool:
        """Whether `token` is the token, compared in constant time."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    def admits(self, cookies: str | None, authorization: str | None, port: int) -> bool:
        """Whether a request carries the token, in the page's cookie or as `Authorization: Bearer TOKEN`."""
        if self.token is None:
            return True
        if authorization and authorization.startswith("Bearer "):
            return self.fits(authorization.removeprefix("Bearer ").strip())
        # Not http.cookies: it drops all of them where another server on this host has set one that it cannot parse.
        pairs = (part.strip().partition("=") for part in (cookies or "").split(";"))
        return any(name == cookie_name(port) and self.fits(value) for name, _, value in pairs)

    def cookie(self, port: int) -> str:
        """The Set-Cookie header that carries the token from now on; scripts and other sites do not get it."""
        return f"{cookie_name(port)}={self.token}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict"


def access_of(config: WebConfig, host: str, notify: Notify) -> AccessPolicy:
    """The rules of a configuration for a page at `host`. Raises ConfigError as `web_token`."""
    token = web_token(config, host, notify)
    return AccessPolicy(host, token, config.hosts, frames=config.frames, ingress=config.ingress)


def cookie_name(port: int) -> str:
    """Cookies are shared by all ports of a host, so the name holds the port."""
    return f"edgecap-{port}"
