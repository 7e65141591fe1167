"""Peers: what one may do."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """A service class that a peer may use (PS3.4)."""

    VERIFICATION = "echo"
    STORAGE = "store"
