"""Who is at the other end of a request, as the audit trail names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Request
from pydantic import Field

_LONGEST = 96
"""Characters of an actor in the audit trail; a token's name and a person's fit in."""

OnBehalfOf = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=48,
        pattern=r"^[^\x00-\x1f\x7f/]+$",
        description="For whom a program does it; stands behind the token's name in the audit trail",
    ),
]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. ``name`` is that of the token, None for whoever gave none and can only read."""

    address: str
    name: str | None = None

    @property
    def actor(self) -> str:
        """What the audit trail says: ``web/NAME``, or ``web/ADDRESS`` where the machine is all that is known."""
        return f"web/{self.name or self.address}"[:_LONGEST]

    def on_behalf_of(self, person: str | None) -> str:
        """Return the actor where a program acts for somebody: ``web/NAME/PERSON``; the token vouches for the name."""
        return f"{self.actor}/{person}"[:_LONGEST] if person else self.actor


def address_of(request: Request) -> str:
    """Return the address that a request came from, ``unknown`` where the server cannot tell."""
    return request.client.host if request.client else "unknown"


def visitor_of(request: Request) -> Visitor:
    """Return who asks, as the guard found out; before it has, nobody with a name."""
    found: Visitor | None = getattr(request.state, "visitor", None)
    return found or Visitor(address_of(request))


def visitor(request: Request) -> str:
    """Return what the audit trail calls whoever asks."""
    return visitor_of(request).actor
