"""What proxies say about a request: believed of those that whoever runs the app has named, and of nobody else."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from vitcam.errors import VitcamError

Scope = MutableMapping[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_OF_PROXIES = re.compile(rb"forwarded|x-forwarded-.*|x-real-ip|x-original-.*|x-gradio-server|true-client-ip")


def networks_of(addresses: Sequence[str]) -> tuple[Network, ...]:
    """The networks that are named.

    Raises:
        VitcamError: one is neither an address nor a network.

    Example:
        >>> networks_of(["10.0.0.7", "fd00::/8"])
        (IPv4Network('10.0.0.7/32'), IPv6Network('fd00::/8'))
    """
    try:
        return tuple(ipaddress.ip_network(address.strip(), strict=False) for address in addresses)
    except ValueError as error:
        raise VitcamError(
            f"A trusted proxy is given by its IP address or network, as 10.0.0.7 or 10.0.0.0/24: {error}."
        ) from error


class Forwarded:
    """Takes a visitor's address, scheme and host from a trusted proxy's headers, and all such headers off others'.

    Of several values the last counts, which the nearest proxy has set; the visitor is the last in
    ``X-Forwarded-For`` who is no trusted proxy.

    Args:
        app: what is behind it.
        trusted: the networks of the proxies.
    """

    def __init__(self, app: Any, trusted: Sequence[Network] = ()) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = self._seen_through(scope)
        await self._app(scope, receive, send)

    def _seen_through(self, scope: Scope) -> Scope:
        said: dict[bytes, list[str]] = {
            name: [] for name in (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto")
        }
        others: list[tuple[bytes, bytes]] = []
        for name, value in scope["headers"]:
            if name in said:
                said[name] += [one.strip() for one in value.decode("latin-1").split(",")]
            elif not _OF_PROXIES.fullmatch(name.replace(b"_", b"-")):
                others.append((name, value))
        scope = {**scope, "headers": others}
        if not self._trusts((scope.get("client") or ("",))[0]):
            return scope
        unknown = [one for one in said[b"x-forwarded-for"] if not self._trusts(one)]
        if unknown:
            scope["client"] = (unknown[-1], 0)
        for proto in said[b"x-forwarded-proto"][-1:]:
            if proto in ("http", "https"):
                scope["scheme"] = proto if scope["type"] == "http" else proto.replace("http", "ws")
                others.append((b"x-forwarded-proto", proto.encode()))
        for host in said[b"x-forwarded-host"][-1:]:
            if _HOST.fullmatch(host):
                others[:] = [pair for pair in others if pair[0] != b"host"]
                others += [(b"host", host.encode()), (b"x-forwarded-host", host.encode())]
        return scope

    def _trusts(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._trusted)
