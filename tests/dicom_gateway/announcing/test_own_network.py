"""Addresses in the own network: which they are, and that no connection is made to one that is not allowed."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from dicom_gateway.announcing import own_network
from dicom_gateway.errors import AddressInOwnNetwork, PeerUnreachable

SECONDS = 3.0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a socket that listens on loopback and accepts at once or not at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def was_called(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.20.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # metadata of clouds
        "168.63.129.16",
        "100.100.100.200",  # shared address space, RFC 6598
        "192.0.0.192",
        "0.0.0.0",  # noqa: S104 - refused, not bound to
        "224.0.0.1",
        "232.1.2.3",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::808:808",
        "2002:a00:1::",
        "2001:0:808:808::1",
        "2001:db8::1",
    ],
)
def test_these_belong_to_the_own_network(text: str) -> None:
    assert own_network.is_inside(ip_address(text), ())


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_these_do_not(text: str) -> None:
    assert not own_network.is_inside(ip_address(text), ())


@pytest.mark.parametrize(("text", "network"), [("8.8.8.8", "8.8.8.0/24"), ("2606:4700::1", "2606:4700::/64")])
def test_a_neighbour_with_a_public_address_is_in_the_own_network(text: str, network: str) -> None:
    assert own_network.is_inside(ip_address(text), (ip_network(network),))


def test_the_networks_of_this_machine_are_known() -> None:
    assert any(ip_address("127.0.0.1") in network for network in own_network.attached_networks())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "0"])
def test_no_way_of_writing_it_leads_in(host: str, listener: socket.socket) -> None:
    with pytest.raises(AddressInOwnNetwork, match="--private-network"):
        own_network.connect(host, port_of(listener), private_network=False, seconds=SECONDS)
    assert not was_called(listener)


def test_where_it_is_allowed_it_is_connected_to(listener: socket.socket) -> None:
    connection = own_network.connect("127.0.0.1", port_of(listener), private_network=True, seconds=SECONDS)
    with connection:
        assert connection.getpeername() == listener.getsockname()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have the resolver give one list of IPv4 addresses after the other; returns the names that it is asked for."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in left.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def test_a_name_that_leads_in_as_well_as_out_is_not_used(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["192.88.98.1", "127.0.0.1"])
    with pytest.raises(AddressInOwnNetwork):
        own_network.connect("two.example", port_of(listener), private_network=False, seconds=SECONDS)
    assert not was_called(listener)


def test_a_name_is_asked_for_once(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second answer, which would lead in, is never asked for (DNS rebinding)."""
    asked = resolving(monkeypatch, ["240.1.1.1", "127.0.0.1"], ["127.0.0.1"])
    connection = own_network.connect("rebinding.example", port_of(listener), private_network=True, seconds=SECONDS)
    connection.close()
    assert asked == ["rebinding.example"]


def test_what_is_connected_to_is_judged_too(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a rule of the firewall or a transparent proxy leads an outside address inside."""
    resolving(monkeypatch, ["8.8.8.8"])

    class Redirected(socket.socket):
        def connect(self, _: Any) -> None:
            super().connect(listener.getsockname())

    monkeypatch.setattr(socket, "socket", Redirected)
    with pytest.raises(AddressInOwnNetwork):
        own_network.connect("outside.example", 443, private_network=False, seconds=SECONDS)


def test_an_address_that_says_nothing_does_not_keep_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = stack.enter_context(socket.create_server(("127.0.0.2", port_of(full))))
        for _ in range(4):  # beyond its backlog, calls are not answered at all
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(full.getsockname())
        connection = own_network.connect("two.example", port_of(full), private_network=True, seconds=2.0)
        assert stack.enter_context(connection).getpeername() == waiting.getsockname()


def test_where_no_address_answers_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = port_of(closed)
    closed.close()
    resolving(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    with pytest.raises(PeerUnreachable, match="does not answer"):
        own_network.connect("closed.example", port, private_network=True, seconds=SECONDS)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_a_name_without_an_address_says_so(host: str) -> None:
    with pytest.raises(PeerUnreachable, match="cannot be resolved"):
        own_network.connect(host, 443, private_network=True, seconds=SECONDS)
