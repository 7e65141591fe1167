"""The JSON objects of `oncue destinations`: entries, addresses of the settings, and what each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlalchemy.orm import Session

from console.record_schema import IsoTime, RecordSchema
from dicom_gateway.chosen_forms import choose
from storage import delivery_lists, destinations, negotiations
from storage.database import utc_now
from storage.destinations import DestinationEntry, OpenCircuit, RecordedDestination
from storage.domain import ObjectKind, Priority, Unanalysed
from storage.negotiations import Negotiation
from storage.proof_ways import ProofWay
from storage.states import DeliveryState, ProofState


class DestinationForm(RecordSchema):
    """One destination: an entry, or an address of ``gateway.destinations``, which gets SEG and SR and has no dates.

    ``gets`` are the forms that it is sent by what it last said; ``because`` says why they are not those asked for.
    ``left_alone_until`` is set while it cannot be reached. ``unproven`` counts what it took and could not show to keep.
    """

    name: str
    origin: Literal["entry", "settings"]
    address: str
    paused: bool
    forms: list[ObjectKind]
    gets: list[ObjectKind]
    because: str
    routes: list[str] | None
    priorities: list[Priority] | None
    transfer_syntaxes: list[str] | None
    series_number_base: int | None
    series_description: str | None
    character_set: str | None
    keeps_segmentations: bool
    shows_priority: bool
    rejection_notes: bool
    unanalysed: Unanalysed
    proof: ProofWay
    proof_address: str | None
    associations: int
    objects_per_association: int | None
    kilobytes_per_second: int | None
    credentials: str | None
    asked_at: IsoTime | None
    code: str | None
    left_alone_until: IsoTime | None
    waiting: int
    refused: int
    unproven: int
    added_by: str | None
    added_at: IsoTime | None
    changed_at: IsoTime | None


def destination_forms(
    session: Session, *, addresses: Sequence[str] = (), rejecting: Sequence[str] = ()
) -> list[DestinationForm]:
    """Return every entry by name, and behind them the addresses of the settings that no entry has.

    ``rejecting`` are those of the addresses that get rejection notes.
    """
    recorded = destinations.listed(session)
    known, circuits = negotiations.all_known(session), destinations.open_circuits(session, now=utc_now())
    forms = [
        _form(
            session,
            one.entry,
            known.get(one.entry.name, Negotiation(one.entry.name)),
            circuits.get(one.entry.name),
            recorded=one,
        )
        for one in recorded
    ]
    held = {one.entry.address for one in recorded}
    for text in dict.fromkeys(addresses):
        if text not in held:
            entry = DestinationEntry(text, text, rejection_notes=text in rejecting)
            forms.append(_form(session, entry, Negotiation(text), circuits.get(text)))
    return forms


def destination_form(session: Session, name: str) -> DestinationForm:
    """Return one entry; RecordMissing where there is none of this name."""
    circuits = destinations.open_circuits(session, now=utc_now())
    recorded, negotiation = destinations.find(session, name), negotiations.find(session, name)
    return _form(session, recorded.entry, negotiation, circuits.get(name), recorded=recorded)


def _form(
    session: Session,
    entry: DestinationEntry,
    negotiation: Negotiation,
    circuit: OpenCircuit | None,
    *,
    recorded: RecordedDestination | None = None,
) -> DestinationForm:
    chosen = choose(entry, negotiation.taken)
    numbers = delivery_lists.count_by_state(session, entry.name)
    return DestinationForm.model_validate(
        {
            **{name: getattr(entry, name) for name in DestinationEntry.__slots__},
            "origin": "settings" if recorded is None else "entry",
            "gets": chosen.forms,
            "because": chosen.reason,
            "asked_at": negotiation.asked_at,
            "code": negotiation.code,
            "left_alone_until": circuit and circuit.until,
            "waiting": numbers.get(DeliveryState.PENDING, 0) + numbers.get(DeliveryState.SENDING, 0),
            "refused": numbers.get(DeliveryState.REFUSED, 0),
            "unproven": delivery_lists.count_proofs(session, entry.name).get(ProofState.FAILED, 0),
            "added_by": recorded and recorded.added_by,
            "added_at": recorded and recorded.added_at,
            "changed_at": recorded and recorded.changed_at,
        }
    )
