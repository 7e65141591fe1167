"""Who may open an association: the question, its answers, and what is asked while the association is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dicom_gateway.errors import GatewayError
from storage.domain import Lane
from storage.peers import Service


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association, as far as it says."""

    calling_aet: str
    called_aet: str
    address: str
    certificate_names: tuple[str, ...] = ()
    """Common name and DNS names of its client certificate; empty without TLS."""


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller that may open an association, and what it may do.

    ``peer`` is the name of its entry, ``loopback`` for this machine itself without one. ``sop_classes`` None are all
    that the listener takes.
    """

    caller: Caller
    peer: str
    lane: Lane
    services: frozenset[Service]
    sop_classes: frozenset[str] | None

    @property
    def place_holder(self) -> str:
        """Who an association's place counts for: a title under an entry, as senders on this machine share one."""
        return f"{self.peer}/{self.caller.calling_aet}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A caller that is turned away: a stable code for our records, and what it is told."""

    code: str
    reason: RejectReason


_NO_REASON = RejectReason(result=1, source=1, reason=1)
_LOCAL_LIMIT = RejectReason(result=2, source=3, reason=2)

CALLING_AET_UNKNOWN = Refused("calling_aet_unknown", RejectReason(result=1, source=1, reason=3))
CALLED_AET_UNKNOWN = Refused("called_aet_unknown", RejectReason(result=1, source=1, reason=7))
# What is wrong with an address or a certificate is ours to know: whoever tries titles learns nothing of it.
NETWORK_NOT_ALLOWED = Refused("network_not_allowed", _NO_REASON)
CERTIFICATE_NOT_ALLOWED = Refused("certificate_not_allowed", _NO_REASON)
PEER_BLOCKED = Refused("peer_blocked", _NO_REASON)
# Transient: a sender that is told so keeps its images and tries again.
QUOTA_EXCEEDED = Refused("quota_exceeded", _LOCAL_LIMIT)
TOO_MANY_ASSOCIATIONS = Refused("too_many_associations", _LOCAL_LIMIT)


class Admission(Protocol):
    """Decides about callers. Threads share it, and every method is quick: none waits for the database."""

    def admit(self, caller: Caller) -> Admitted | Refused:
        """Say whether a caller may open an association; a caller that may is counted as having opened one."""
        ...

    def is_known_address(self, address: str) -> bool:
        """Say before any byte is read whether an address may belong to a peer; loopback may.

        False is no reason to close the connection: a stranger that is not heard cannot be named to anybody.
        """
        ...

    def still_allows(self, admitted: Admitted, service: Service) -> bool:
        """Say whether a caller with an open association may still use a service; its refusal is noted already."""
        ...

    def charge(self, admitted: Admitted, size_bytes: int) -> GatewayError | None:
        """Count one image; return why it is not taken, None where it is. Its refusal is noted already."""
        ...

    def note_refusal(self, caller: Caller, refused: Refused) -> None:
        """Count that a caller was turned away; what is put on record and logged of it is bounded."""
        ...
