"""Who may open an association, and what it may do there: the questions that the listener asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dicom_gateway.errors import GatewayError
from storage.domain import Lane
from storage.peers import Service


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association, as far as it says.

    ``certificate_names`` are those of its client certificate, CN and DNS names; empty without TLS.
    """

    calling_aet: str
    called_aet: str
    address: str
    certificate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller that may open an association, and what it may do.

    ``peer`` is its entry's name, "loopback" for the machine itself without an entry; ``sop_classes`` None means every
    accepted one.
    """

    caller: Caller
    peer: str
    lane: Lane
    services: frozenset[Service]
    sop_classes: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A caller that may not open an association: a code for the records, and what it is told."""

    code: str
    reason: RejectReason


class Admission(Protocol):
    """Decides about callers. Threads share it."""

    def admit(self, caller: Caller) -> Admitted | Refused:
        """Decide about one association; quick, without a query in the common case."""
        ...

    def is_known_address(self, address: str) -> bool:
        """Say, before any byte is read, whether an address may belong to a peer; loopback does."""
        ...

    def charge(self, admitted: Admitted, size_bytes: int) -> GatewayError | None:
        """Count one image; return the error that it is refused with where that is beyond the peer's quota."""
        ...

    def note_refusal(self, caller: Caller, refused: Refused) -> None:
        """Put a refusal on record; rows and log lines stay bounded however often it happens."""
        ...
