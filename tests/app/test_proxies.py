import asyncio
import ipaddress

import pytest

from vitcam.app.proxies import Forwarded, networks_of
from vitcam.errors import VitcamError

SAID = {
    "x-forwarded-for": "203.0.113.9, 10.0.0.2",
    "x-forwarded-host": "forged.example, vitcam.example",
    "x-forwarded-proto": "http, https",
    "x-forwarded-port": "1",
    "x-forwarded-prefix": "/x",
    "x_forwarded_host": "evil.example",
    "forwarded": "host=evil.example",
    "x-real-ip": "203.0.113.9",
    "x-gradio-server": "http://evil.example",
}


def seen(headers, client="10.0.0.1", trusted=("10.0.0.0/24",), kind="http"):
    """The request as what is behind sees it."""
    found = []

    async def behind(scope, receive, send):
        found.append(scope)

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": kind, "headers": raw, "client": client and (client, 1), "scheme": "http"}
    asyncio.run(Forwarded(behind, networks_of(trusted))(scope, None, None))
    return found[0] | {"headers": [(name.decode(), value.decode()) for name, value in found[0]["headers"]]}


@pytest.mark.parametrize("trusted", [(), ("10.9.0.0/16", "fd00::/8")])
@pytest.mark.parametrize("client", ["10.0.0.1", "127.0.0.1", "::1", None, "testclient"])
def test_nobody_else_is_believed(client, trusted):
    scope = seen({"host": "here", **SAID, "accept": "*/*"}, client, trusted)
    assert scope["headers"] == [("host", "here"), ("accept", "*/*")]
    assert scope["scheme"] == "http"
    assert scope["client"] == (client and (client, 1))


@pytest.mark.parametrize("client", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_a_trusted_proxy_is_believed_by_what_it_said_itself(client):
    scope = seen({"host": "inside", **SAID}, client)
    assert sorted(scope["headers"]) == [
        ("host", "vitcam.example"),
        ("x-forwarded-host", "vitcam.example"),
        ("x-forwarded-proto", "https"),
    ]
    assert scope["scheme"] == "https"
    assert scope["client"] == ("203.0.113.9", 0)


def test_what_is_no_host_and_no_scheme_is_left_out():
    for host in ("a/b", "a b", "", "x" * 300, "[::1", "a@b", "a\x00"):
        scope = seen({"host": "inside", "x-forwarded-host": host, "x-forwarded-proto": "javascript"})
        assert scope["headers"] == [("host", "inside")]
        assert scope["scheme"] == "http"
    for host in ("a.example:8443", "[::1]:80", "[fd00::1]"):
        assert ("host", host) in seen({"x-forwarded-host": host})["headers"]


def test_a_proxy_that_says_nothing():
    scope = seen({"host": "inside"})
    assert scope["headers"] == [("host", "inside")]
    assert scope["client"] == ("10.0.0.1", 1)


def test_websockets_and_the_rest():
    assert seen({"x-forwarded-proto": "https"}, kind="websocket")["scheme"] == "wss"
    assert ("x-real-ip", "203.0.113.9") in seen(SAID, kind="lifespan")["headers"]


def test_addresses():
    assert networks_of(["10.0.0.7", " fd00::/8 "]) == (
        ipaddress.ip_network("10.0.0.7/32"),
        ipaddress.ip_network("fd00::/8"),
    )
    for wrong in ("proxy.example", "*", "", "10.0.0.0/33", "~nosuchuser"):
        with pytest.raises(VitcamError, match=r"IP address or network, as 10\.0\.0\.7 or 10\.0\.0\.0/24"):
            networks_of([wrong])
