"""The JSON objects of `oncue peers`: entries, callers that were turned away, and what a test of an entry found."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from console.record_schema import IsoTime, RecordSchema
from storage import peer_usage, peers
from storage.care_settings import CareSetting
from storage.database import utc_now
from storage.domain import Lane
from storage.peer_usage import Usage
from storage.peers import RecordedPeer, Service

_MEGABYTE = 1_000_000


class PeerForm(RecordSchema):
    """One entry, and what the peer has used in this hour of the clock (UTC)."""

    name: str
    allowed: bool
    calling_aet: str
    called_aet: str | None
    network: str | None
    certificate_name: str | None
    services: list[Service]
    sop_classes: list[str] | None
    lane: Lane
    associations_per_hour: int | None
    images_per_hour: int | None
    megabytes_per_hour: int | None
    used_associations: int
    used_images: int
    used_megabytes: float
    query_address: str | None
    store_address: str | None
    care_setting: CareSetting | None
    added_by: str
    added_at: IsoTime
    changed_at: IsoTime
    last_seen_at: IsoTime | None


class RefusedPeerForm(RecordSchema):
    """One caller that was turned away; ``number`` is what `oncue peers allow` takes."""

    number: int
    calling_aet: str
    called_aet: str
    address: str
    code: str
    count: int
    first_at: IsoTime
    last_at: IsoTime


def peer_forms(session: Session) -> list[PeerForm]:
    """Return every entry by name, with what its peer has used in this hour."""
    used = peer_usage.of_hour(session, peer_usage.hour_of(utc_now()))
    return [_form(recorded, used) for recorded in peers.listed(session)]


def peer_form(session: Session, name: str) -> PeerForm:
    """Return one entry; RecordMissing where there is none of this name."""
    used = peer_usage.of_hour(session, peer_usage.hour_of(utc_now()))
    return _form(peers.find(session, name), used)


def _form(recorded: RecordedPeer, used: Mapping[str, Usage]) -> PeerForm:
    entry, usage = recorded.entry, used.get(recorded.entry.name, Usage())
    return PeerForm.model_validate(
        {
            "name": entry.name,
            "allowed": entry.allowed,
            "calling_aet": entry.calling_aet,
            "called_aet": entry.called_aet,
            "network": entry.network,
            "certificate_name": entry.certificate_name,
            "services": sorted(entry.services),
            "sop_classes": None if entry.sop_classes is None else sorted(entry.sop_classes),
            "lane": entry.lane,
            "associations_per_hour": entry.quotas.associations,
            "images_per_hour": entry.quotas.images,
            "megabytes_per_hour": entry.quotas.megabytes,
            "used_associations": usage.associations,
            "used_images": usage.images,
            "used_megabytes": usage.size_bytes / _MEGABYTE,
            "query_address": entry.query_address,
            "store_address": entry.store_address,
            "care_setting": entry.care_setting,
            "added_by": recorded.added_by,
            "added_at": recorded.added_at,
            "changed_at": recorded.changed_at,
            "last_seen_at": recorded.last_seen_at,
        }
    )
