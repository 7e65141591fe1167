"""What happens to one received instance, and what its sender is told.

The order is the promise: request checked, file durable, row committed, and only then 0x0000. A crash between any two of
these leaves an image that the sender still has, never one that it was told is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError, UndecodableObject
from dicom_gateway.receiving.batch_commit import BatchCommit, Received
from dicom_gateway.receiving.repeat_bound import RepeatBound
from dicom_gateway.receiving.spool import Spool, StoredFile
from dicom_gateway.receiving.store_request import Identity, StoreRequest, identify
from dicom_gateway.status import Status, written
from storage import studies
from storage.database import Database
from storage.domain import StoredInstance
from storage.errors import OncueError, StorageError
from storage.objects import ObjectStore
from storage.studies import Origin, Registration

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InstanceReceiver:
    """Takes instances into the object store and the database."""

    database: Database
    objects: ObjectStore
    settings: GatewaySettings
    batch_commit: BatchCommit
    clock: Callable[[], datetime]
    refusals: RepeatBound = field(default_factory=RepeatBound)

    def open_spool(self, request: StoreRequest) -> Spool:
        """Begin an instance."""
        return Spool(self.objects, request, maximum_bytes=self.settings.maximum_instance_megabytes << 20)

    def store(self, data_set: BytesIO | None, *, sop_instance_uid: str, origin: Origin) -> int:
        """Take one received data set in and return the DIMSE status of the answer."""
        try:
            self._take(data_set, origin)
        except OncueError as error:
            return self.refuse(error, sop_instance_uid=sop_instance_uid, calling_aet=origin.calling_aet)
        except Exception:  # edge: a fault of ours must answer this sender and leave the others alone
            logger.exception("instance.failed", code="unexpected_error", calling_aet=origin.calling_aet)
            return int(Status.PROCESSING_FAILURE)
        return int(Status.SUCCESS)

    def refuse(self, error: OncueError, *, sop_instance_uid: str, calling_aet: str) -> int:
        """Log and record that an instance was not accepted, and return the status that says so.

        A sender that goes on and on for one reason is answered, but no more written about for a while.
        """
        status = status_of(error)
        left_out = self.refusals.add(calling_aet, error.code, now=self.clock())
        if left_out is None:
            return status
        logger.warning(
            "instance.refused",
            code=error.code,
            status=written(status),
            calling_aet=calling_aet,
            sop_instance_uid=sop_instance_uid,
            reason=str(error),
            left_out=left_out,
        )
        try:
            with self.database.write() as session:
                studies.refused_instance(
                    session,
                    calling_aet=calling_aet,
                    sop_instance_uid=sop_instance_uid,
                    code=error.code,
                    status=status,
                    now=self.clock(),
                )
        except StorageError as unrecorded:
            # The sender is refused all the same; with the database down there is only the log to say so.
            logger.warning("instance.refusal_not_recorded", code=unrecorded.code, calling_aet=calling_aet)
        return status

    def _take(self, data_set: BytesIO | None, origin: Origin) -> None:
        if not isinstance(data_set, Spool):
            raise UndecodableObject("the C-STORE request has no data set")
        try:
            identity = identify(data_set.elements(), data_set.request)
            kept = data_set.keep()
            received = Received(_instance(data_set.request, identity, kept), identity.facts, origin)
            outcome = self.batch_commit.register(received)
        finally:
            data_set.discard()
        if outcome is Registration.CHANGED:
            logger.warning("instance.changed", calling_aet=origin.calling_aet, digest=kept.digest)
        logger.debug("instance.stored", outcome=outcome.value, calling_aet=origin.calling_aet, digest=kept.digest)


def status_of(error: OncueError) -> int:
    """Return the DIMSE status of a C-STORE that fails this way; what storage cannot do now may work later (0xA700)."""
    if isinstance(error, GatewayError):
        return int(error.status)
    return int(Status.OUT_OF_RESOURCES if isinstance(error, StorageError) else Status.PROCESSING_FAILURE)


def _instance(request: StoreRequest, identity: Identity, kept: StoredFile) -> StoredInstance:
    return StoredInstance(
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        sop_instance_uid=request.sop_instance_uid,
        sop_class_uid=request.sop_class_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        modality=identity.modality,
        digest=kept.digest,
        content_sha256=kept.content_sha256,
        size_bytes=kept.size_bytes,
    )
