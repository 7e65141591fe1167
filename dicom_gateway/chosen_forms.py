"""In which forms a destination gets a result: those that it asks for, and where it takes one not, what shows the same.

Pure: an entry and what its peer said go in, choices with their reasons come out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_gateway.objects import sop_classes
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind

SOP_CLASSES: Mapping[ObjectKind, str] = {
    kind: str(uid) for kind, uid in sop_classes.SOP_CLASSES.items() if kind is not ObjectKind.REJECTION
}
"""The SOP class that each form is an instance of."""

SENDABLE = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""Transfer syntaxes that results can travel in, the one that they are stored in first."""

FALLBACKS: Mapping[ObjectKind, tuple[ObjectKind, ...]] = {
    ObjectKind.SEG: (ObjectKind.LABELMAP, ObjectKind.SC),
    ObjectKind.LABELMAP: (ObjectKind.SEG, ObjectKind.SC),
    ObjectKind.SR: (ObjectKind.PDF, ObjectKind.SC),
    ObjectKind.SC: (ObjectKind.PDF,),
    ObjectKind.GSPS: (ObjectKind.SC,),
    ObjectKind.KO: (ObjectKind.SC,),
    ObjectKind.PDF: (ObjectKind.SR, ObjectKind.SC),
    ObjectKind.PM: (),
}
"""What stands in for a form that a destination does not take, the nearest first; for a map of values nothing does."""

_SEGMENTATIONS = frozenset({ObjectKind.SEG, ObjectKind.LABELMAP})


class Reason(StrEnum):
    """Why a form is sent or not.

    NOT_SAID: the peer has not said what it takes, so it is sent as if it took all. WRONG_SYNTAX: it takes the SOP
    class in none of the transfer syntaxes that its entry allows. NOT_KEPT: its entry says that segmentations are not
    kept there.
    """

    TAKEN = "taken"
    NOT_SAID = "not_said"
    NOT_TAKEN = "not_taken"
    WRONG_SYNTAX = "transfer_syntax_not_taken"
    NOT_KEPT = "segmentations_not_kept"


_GOES = frozenset({Reason.TAKEN, Reason.NOT_SAID})


@dataclass(frozen=True, slots=True)
class FormChoice:
    """What a destination gets for one form that it asks for.

    ``reason`` is about the form that was asked for. ``chosen`` is None where nothing that it takes stands in for it;
    ``transfer_syntax`` is that of the chosen form, None where that is not known yet.
    """

    asked: ObjectKind
    chosen: ObjectKind | None
    reason: Reason
    transfer_syntax: str | None

    @property
    def is_as_asked(self) -> bool:
        """Whether the form is sent that was asked for."""
        return self.chosen is self.asked

    def __str__(self) -> str:
        return f"{self.asked} {self.reason}" + ("" if self.is_as_asked else f", {self.chosen or 'nothing'} instead")


@dataclass(frozen=True, slots=True)
class ChosenForms:
    """The choices of one destination, in the order of its entry."""

    choices: tuple[FormChoice, ...]

    @property
    def asked(self) -> tuple[ObjectKind, ...]:
        """The forms that were asked for."""
        return tuple(choice.asked for choice in self.choices)

    @property
    def forms(self) -> tuple[ObjectKind, ...]:
        """The forms that are sent, each once."""
        return tuple(dict.fromkeys(choice.chosen for choice in self.choices if choice.chosen is not None))

    @property
    def departures(self) -> tuple[FormChoice, ...]:
        """The choices that are not what was asked for."""
        return tuple(choice for choice in self.choices if not choice.is_as_asked)

    @property
    def left_out(self) -> frozenset[ObjectKind]:
        """The forms that were asked for, or might have stood in for one, and are not sent."""
        candidates = {kind for asked in self.asked for kind in (asked, *FALLBACKS[asked])}
        return frozenset(candidates - set(self.forms))

    @property
    def reason(self) -> str:
        """Why the forms are not those that were asked for, in coded words; empty where they are."""
        return "; ".join(map(str, self.departures))


def choose(entry: DestinationEntry, taken: Mapping[str, tuple[str, ...]]) -> ChosenForms:
    """Choose the forms of a destination; ``taken`` are the transfer syntaxes that its peer takes, by SOP class.

    A SOP class that is not in ``taken`` is one that the peer has not been asked about: it counts as taken. A form that
    stands in and is asked for itself is sent once.
    """
    return ChosenForms(tuple(_choice(asked, entry, taken) for asked in entry.forms))


def verdict(kind: ObjectKind, entry: DestinationEntry, taken: Mapping[str, tuple[str, ...]]) -> Reason:
    """Say whether a form can go to a destination, and why not."""
    if kind in _SEGMENTATIONS and not entry.keeps_segmentations:
        return Reason.NOT_KEPT
    syntaxes = taken.get(SOP_CLASSES[kind])
    if syntaxes is None:
        return Reason.NOT_SAID
    if not syntaxes:
        return Reason.NOT_TAKEN
    return Reason.TAKEN if _usable(syntaxes, entry) else Reason.WRONG_SYNTAX


def _choice(asked: ObjectKind, entry: DestinationEntry, taken: Mapping[str, tuple[str, ...]]) -> FormChoice:
    candidates = (asked, *FALLBACKS[asked])
    chosen = next((kind for kind in candidates if verdict(kind, entry, taken) in _GOES), None)
    syntaxes = _usable(taken.get(SOP_CLASSES[chosen], ()), entry) if chosen else ()
    return FormChoice(asked, chosen, verdict(asked, entry, taken), next(iter(syntaxes), None))


def _usable(syntaxes: tuple[str, ...], entry: DestinationEntry) -> tuple[str, ...]:
    allowed = entry.transfer_syntaxes or SENDABLE
    return tuple(uid for uid in SENDABLE if uid in syntaxes and uid in allowed)
