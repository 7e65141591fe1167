"""The name and the port that a request asked for, read strictly: a Host header is whatever somebody sends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fastapi import Request

_FORM = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", re.ASCII)
"""uri-host and port of RFC 9110, 7.2, without what no browser sends."""


@dataclass(frozen=True, slots=True)
class AskedHost:
    """What the Host header names; both are empty where it is none. ``name`` has no brackets."""

    name: str = ""
    port: str = ""

    @classmethod
    def of(cls, request: Request) -> Self:
        """Return what a request names."""
        found = _FORM.fullmatch(request.headers.get("host", ""))
        return cls() if found is None else cls(found[1].strip("[]"), found[2] or "")


def path_of(request: Request) -> str:
    """Return the path that routes are chosen by; that of ``request.url`` is read out of the Host header, too."""
    return str(request.scope["path"])
