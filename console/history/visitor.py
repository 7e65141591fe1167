"""Who is at the other end of a request, as the audit trail names them."""

from __future__ import annotations

from fastapi import Request

_LONGEST = 80


def visitor(request: Request) -> str:
    """Return ``web/ADDRESS``: the pages have no login, so the machine is all that is known of who reads."""
    return f"web/{request.client.host if request.client else 'unknown'}"[:_LONGEST]
