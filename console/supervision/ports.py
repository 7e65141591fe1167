"""Ports: a free one where any will do, and a clear word where the wanted one is taken."""

from __future__ import annotations

import contextlib
import errno
import socket

from storage.errors import ConfigurationError

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - read, not bound to
_OF_PORTS = frozenset({errno.EADDRINUSE, errno.EACCES, errno.EPERM})
"""Errors that another port helps against; with any other the address is wrong."""


def settle(host: str, port: int, *, key: str) -> int:
    """Return ``port`` where it can be bound, a free one for 0; ConfigurationError names the setting otherwise."""
    try:
        with contextlib.closing(_bound(host, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        address = key.partition(" ")[0].removesuffix("port") + "host"
        advice = (
            f"end what holds it, or set {key}" if error.errno in _OF_PORTS else f"set {address} to one of this machine"
        )
        raise ConfigurationError(f"{host}:{port} cannot be listened on ({error.strerror}); {advice}") from error


def is_taken(host: str, port: int) -> bool:
    """Say whether somebody already listens there."""
    try:
        _bound(host, port).close()
    except OSError:
        return True
    return False


def reachable(host: str) -> str:
    """Return the address at which a server bound to ``host`` answers on this machine."""
    return _WILDCARDS.get(host, host)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port whose old connections still linger can be listened on; one with a listener cannot.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    except OSError:
        probe.close()
        raise
    return probe
