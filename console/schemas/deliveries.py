"""Deliveries in lists, and one with all that is on record of it."""

from __future__ import annotations

from pydantic import AliasPath, Field

from console.record_schema import IsoTime, RecordSchema
from storage.domain import ObjectKind
from storage.states import DeliveryState, ProofState


class DeliveryProofForm(RecordSchema):
    """Whether a destination shows that it keeps an object; ``resent`` is how often it was sent anew over that."""

    state: ProofState
    resent: int
    committed_at: IsoTime | None
    code: str | None
    reason: str | None


class DeliveryForm(RecordSchema):
    """One delivery in ``oncue deliveries list --json``; ``status`` is the DIMSE status as a number.

    ``proof`` is None where the destination is not to show anything.
    """

    sop_instance_uid: str = Field(validation_alias=AliasPath("written", "sop_instance_uid"))
    kind: ObjectKind = Field(validation_alias=AliasPath("written", "kind"))
    destination: str
    state: DeliveryState
    status: int | None
    id: int
    attempts: int
    code: str | None
    reason: str | None
    proof: DeliveryProofForm | None


class ListedDeliveryForm(DeliveryForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str


class DeliveryDetailForm(DeliveryForm):
    """One delivery in ``oncue deliveries show --json``."""

    study_instance_uid: str
    job_id: int | None
    next_attempt_at: IsoTime
    sent_at: IsoTime | None
