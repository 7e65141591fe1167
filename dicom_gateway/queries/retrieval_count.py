"""What became of the sub-operations of a C-GET or C-MOVE, and the responses that say so (PS3.4 C.4.2.3, C.4.3.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from dicom_gateway import data_sets
from dicom_gateway.protocol.commands import SubOperations
from dicom_gateway.protocol.exchange import Response
from dicom_gateway.status import PeerAnswer, Status, answer_of
from storage.attributes import Attributes, element

_PENDING = 0xFF00
_PENDING_SECONDS = 1.0
_FAILED_LIST = "00080058"
_LONGEST_FAILED_LIST = 1000
"""UIDs that the failed list names: more do not fit into an element of Explicit VR (PS3.5 7.1.2)."""


@dataclass(slots=True)
class RetrievalCount:
    """Counts the sub-operations of one request. ``transfer_syntax_uid`` is that of its responses."""

    total: int
    transfer_syntax_uid: str
    completed: int = 0
    failed: int = 0
    warning: int = 0
    comment: str = ""
    """Why the first one failed that did, in a few words without patient data."""
    _failed_uids: list[str] = field(default_factory=list)
    _due_at: float = field(default_factory=lambda: time.monotonic() + _PENDING_SECONDS)

    @property
    def remaining(self) -> int:
        """How many are still to be done."""
        return self.total - self.completed - self.failed - self.warning

    @property
    def due_in(self) -> float:
        """In how many seconds the next pending response is due: one a second is enough."""
        return max(self._due_at - time.monotonic(), 0.0)

    def answered(self, sop_instance_uid: str, status: int, why: str = "") -> None:
        """Count an instance by the status that its receiver gave."""
        if answer_of(status) is not PeerAnswer.STORED:
            self.has_failed(sop_instance_uid, why)
        elif status == Status.SUCCESS:
            self.completed += 1
        else:
            self.warning += 1

    def has_failed(self, sop_instance_uid: str, why: str) -> None:
        """Count an instance that was not stored."""
        self.failed += 1
        self.comment = self.comment or why
        if len(self._failed_uids) < _LONGEST_FAILED_LIST:
            self._failed_uids.append(sop_instance_uid)

    def pending(self) -> Response:
        """Return a response in the middle."""
        self._due_at = time.monotonic() + _PENDING_SECONDS
        return Response(_PENDING, sub_operations=self._counted(self.remaining))

    def canceled(self) -> Response:
        """Return the last response of a request that was cancelled."""
        return Response(int(Status.CANCELED), self._failed_list(), sub_operations=self._counted(self.remaining))

    def last(self) -> Response:
        """Return the last response of a request that was carried out: how many failed says which it is."""
        status = Status.SUCCESS
        if self.failed or self.warning:
            is_refused = not self.completed and not self.warning
            status = Status.CANNOT_PERFORM_SUB_OPERATIONS if is_refused else Status.SOME_SUB_OPERATIONS_FAILED
        return Response(int(status), self._failed_list(), self.comment, sub_operations=self._counted(None))

    def _counted(self, remaining: int | None) -> SubOperations:
        return SubOperations(remaining, self.completed, self.failed, self.warning)

    def _failed_list(self) -> bytes:
        if not self._failed_uids:
            return b""
        return data_sets.encode(Attributes({_FAILED_LIST: element("UI", *self._failed_uids)}), self.transfer_syntax_uid)
