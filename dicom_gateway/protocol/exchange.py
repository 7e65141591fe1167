"""A request with its data set, and the responses to it: what services exchange that answer with data sets."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dicom_gateway.protocol.commands import Command, CommandField, SubOperations
from storage.peers import Service

PENDING = frozenset({0xFF00, 0xFF01})
"""Statuses of responses that others follow (PS3.7 Annex C.1)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is there in full. ``data_set`` is empty where it has none.

    ``sop_class_uid`` and ``transfer_syntax_uid`` are those of its presentation context; ``peer`` is the name of the
    caller's entry. ``takes`` are SOP classes with their transfer syntaxes in which the peer takes requests itself: it
    asked for the role of the SCP, and has it (PS3.7 D.3.3.4).
    """

    command: Command
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    calling_aet: str
    peer: str
    takes: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Response:
    """One response. ``data_set`` is in the transfer syntax of the request; empty is none.

    ``comment`` says in a few ASCII words what is wrong, and holds no patient data. ``sop_instance_uid`` is that of an
    instance that was made and that the request did not name. ``sub_operations`` are those of a C-MOVE or C-GET.
    """

    status: int
    data_set: bytes = b""
    comment: str = ""
    sop_instance_uid: str = ""
    sub_operations: SubOperations | None = None

    @property
    def is_pending(self) -> bool:
        """Whether another response follows."""
        return self.status in PENDING


@dataclass(frozen=True, slots=True)
class FileDataSet:
    """A data set that lies in a file, from a byte on to its end."""

    path: Path
    at: int


@dataclass(frozen=True, slots=True)
class PeerRequest:
    """A request that we make of the peer over the association that it opened: a C-STORE or an N-EVENT-REPORT.

    It goes out in a context of (``sop_class_uid``, ``transfer_syntax_uid``), which the request's ``takes`` must hold
    for a C-STORE. ``event_type`` is that of an N-EVENT-REPORT.
    """

    field: CommandField
    sop_class_uid: str
    transfer_syntax_uid: str
    sop_instance_uid: str
    data_set: bytes | FileDataSet
    event_type: int | None = None


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What the peer answered to a request of ours."""

    status: int


Conversation = Generator[Response | PeerRequest, PeerAnswer | None, None]
"""What a service says to a request: responses, of which the last is not pending, and requests of its own.

A request of ours is answered by sending its PeerAnswer in; one whose file cannot be read raises OSError there, and
nothing was sent. Requests may also follow the last response, as a report of commitment does. Where the peer cancels,
RequestCanceled is raised in the generator, which may then yield one last response of its own, with what was done; the
generator is closed where the peer releases or is gone.
"""


class DataSetService(Protocol):
    """Answers requests of SOP classes whose requests and responses carry data sets, small enough for memory.

    Threads share it. ``permission`` is what a peer's entry must allow; of a data set of more than
    ``longest_data_set_bytes`` nothing is kept, and ``too_large`` answers its request.
    """

    permission: Service
    longest_data_set_bytes: int

    def responses(self, request: Request) -> Conversation:
        """Yield the responses to a request: any number that are pending, and one that is not.

        It ends early where the peer cancels the request or is gone.
        """
        ...

    def too_large(self, request: Request) -> Response:
        """Return the response to a request whose data set is too large; the one in ``request`` is empty."""
        ...
