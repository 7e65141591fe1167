"""A test of one destination: whether it answers, what it takes of each form, and what it will get."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field
from pydicom.uid import UID

from console.record_schema import RecordSchema
from dicom_gateway.chosen_forms import SOP_CLASSES, ChosenForms, Reason, choose
from dicom_gateway.config import GatewaySettings
from dicom_gateway.receivers import of_entry
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.negotiation import Question, Taken
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind
from storage.errors import OncueError

PATIENCE = PeerTimeouts(connect_seconds=5, associate_seconds=10, answer_seconds=10)


class TriedForm(RecordSchema):
    """What a destination says of one form; ``taken`` is None where it cannot say, ``transfer_syntaxes`` are UIDs."""

    form: ObjectKind
    sop_class: str
    taken: bool | None
    transfer_syntaxes: list[str]


class TriedChoice(RecordSchema):
    """What it gets for one form that its entry asks for; ``chosen`` is None where nothing stands in for it."""

    asked: ObjectKind
    chosen: ObjectKind | None
    reason: Reason
    transfer_syntax: str | None


class DestinationTrial(RecordSchema):
    """The whole test; ``passed`` where it answers and each form, or one that stands in for it, can go there.

    ``rejection_notes`` says whether it takes those, None where it is to get none or cannot say.
    """

    name: str
    address: str
    answered: bool
    code: str = ""
    reason: str = ""
    forms: list[TriedForm] = Field(default_factory=list)
    choices: list[TriedChoice] = Field(default_factory=list)
    rejection_notes: bool | None = None
    passed: bool = False


def ask(entry: DestinationEntry, gateway: GatewaySettings) -> Taken:
    """Ask a destination what it takes, as the gateway would; GatewayError where it does not answer."""
    question = Question(gateway.aet, PATIENCE, DestinationTls(gateway))
    receiver = of_entry(entry)
    return question.ask(receiver.address, credentials=receiver.credentials)


def trial(entry: DestinationEntry, taken: Taken) -> DestinationTrial:
    """Return what follows from what a destination takes."""
    chosen = choose(entry, taken)
    notes = _takes_notes(entry, taken)
    return DestinationTrial(
        name=entry.name,
        address=entry.address,
        answered=True,
        forms=list(_forms(taken)),
        choices=list(_choices(chosen)),
        rejection_notes=notes,
        passed=all(choice.chosen is not None for choice in chosen.choices) and notes is not False,
    )


def unanswered(entry: DestinationEntry, error: OncueError) -> DestinationTrial:
    """Return the test of a destination that did not answer."""
    return DestinationTrial(name=entry.name, address=entry.address, answered=False, code=error.code, reason=str(error))


def syntax_name(uid: str) -> str:
    """Return a transfer syntax in few words."""
    return UID(uid).name.replace("Little Endian", "LE")


def _forms(taken: Taken) -> Iterator[TriedForm]:
    for kind, uid in SOP_CLASSES.items():
        syntaxes = taken.get(uid)
        yield TriedForm(
            form=kind,
            sop_class=uid,
            taken=None if syntaxes is None else bool(syntaxes),
            transfer_syntaxes=list(syntaxes or ()),
        )


def _choices(chosen: ChosenForms) -> Iterator[TriedChoice]:
    for choice in chosen.choices:
        yield TriedChoice(
            asked=choice.asked, chosen=choice.chosen, reason=choice.reason, transfer_syntax=choice.transfer_syntax
        )


def _takes_notes(entry: DestinationEntry, taken: Taken) -> bool | None:
    """Say whether rejection notes, which are Key Object Selection Documents, can go there."""
    syntaxes = taken.get(SOP_CLASSES[ObjectKind.KO])
    return bool(syntaxes) if entry.rejection_notes and syntaxes is not None else None
