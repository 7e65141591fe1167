"""Whether a person looks at a page, or a program fetches it."""

from __future__ import annotations

from fastapi import Request

from console.access.visitor import visitor_of

_AHEAD = ("sec-purpose", "purpose", "x-moz")
"""Headers in which browsers say that they load a page before anybody asked for it."""


def is_looked_at(request: Request) -> bool:
    """Say whether a page is for a person's eyes: a browser shows it to somebody signed in, or on this machine.

    A request with a token in its header is a program's, and so is one without a name that no browser sent (Fetch
    Metadata: ``Sec-Fetch-Dest``). A page that is loaded ahead is not looked at yet.
    """
    headers = request.headers
    if "authorization" in headers or any("fetch" in headers.get(name, "") for name in _AHEAD):
        return False
    shown_as = headers.get("sec-fetch-dest")
    if visitor_of(request).name is None:
        return shown_as == "document"
    # Browsers leave the header out where the page came over plain HTTP from another machine.
    return shown_as in (None, "document")
