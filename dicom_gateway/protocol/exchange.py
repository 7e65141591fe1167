"""A request with its data set, and the responses to it: what services exchange that answer with data sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from dicom_gateway.protocol.commands import Command
from storage.peers import Service

PENDING = frozenset({0xFF00, 0xFF01})
"""Statuses of responses that others follow (PS3.7 Annex C.1)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is there in full. ``data_set`` is empty where it has none.

    ``sop_class_uid`` and ``transfer_syntax_uid`` are those of its presentation context; ``peer`` is the name of the
    caller's entry.
    """

    command: Command
    sop_class_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    calling_aet: str
    peer: str


@dataclass(frozen=True, slots=True)
class Response:
    """One response. ``data_set`` is in the transfer syntax of the request; empty is none.

    ``comment`` says in a few ASCII words what is wrong, and holds no patient data. ``sop_instance_uid`` is that of an
    instance that was made and that the request did not name.
    """

    status: int
    data_set: bytes = b""
    comment: str = ""
    sop_instance_uid: str = ""

    @property
    def is_pending(self) -> bool:
        """Whether another response follows."""
        return self.status in PENDING


class DataSetService(Protocol):
    """Answers requests of SOP classes whose requests and responses carry data sets, small enough for memory.

    Threads share it. ``permission`` is what a peer's entry must allow; of a data set of more than
    ``longest_data_set_bytes`` nothing is kept, and ``too_large`` answers its request.
    """

    permission: Service
    longest_data_set_bytes: int

    def responses(self, request: Request) -> Iterator[Response]:
        """Yield the responses to a request: any number that are pending, and one that is not.

        It is closed early where the peer cancels the request or is gone.
        """
        ...

    def too_large(self, request: Request) -> Response:
        """Return the response to a request whose data set is too large; the one in ``request`` is empty."""
        ...
