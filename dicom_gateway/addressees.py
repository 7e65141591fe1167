"""Who gets a result, in which forms and in which style: the entries that want it, and the addresses of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dicom_gateway.chosen_forms import ChosenForms, choose
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.destinations import DEFAULT_FORMS, DestinationEntry
from storage.domain import ObjectKind, Priority
from storage.negotiations import Negotiation
from storage.reports import RecordedChoice


@dataclass(frozen=True, slots=True)
class Addressee:
    """One destination of one result; ``choice`` is None for an address of the settings, which chooses nothing."""

    name: str
    forms: tuple[ObjectKind, ...] = DEFAULT_FORMS
    style: ObjectStyle = DEFAULT_STYLE
    choice: ChosenForms | None = None

    @property
    def recorded_choice(self) -> RecordedChoice | None:
        """What is to go on record of it: nothing where it gets what was asked for."""
        if self.choice is None or not self.choice.departures:
            return None
        choice = self.choice
        return RecordedChoice(self.name, choice.asked, choice.forms, choice.reason, choice.left_out)


def wanting(entries: Sequence[DestinationEntry], route: str, priority: Priority) -> tuple[DestinationEntry, ...]:
    """Return the entries that want results of a route with a priority; a paused one does, its results wait."""
    return tuple(entry for entry in entries if entry.wants(route, priority))


def addressees(entries: Sequence[DestinationEntry], negotiated: Mapping[str, Negotiation]) -> tuple[Addressee, ...]:
    """Return what each entry gets, by what its peer said that it takes."""
    return tuple(_of_entry(entry, negotiated.get(entry.name, Negotiation(entry.name))) for entry in entries)


def without_entry(addresses: Sequence[str], entries: Sequence[DestinationEntry]) -> tuple[Addressee, ...]:
    """Return the addresses of the settings: SEG and SR go there, but where an entry has the same one the entry counts.

    It counts also for results that it does not want.
    """
    known = {entry.address for entry in entries}
    return tuple(Addressee(text) for text in dict.fromkeys(addresses) if text not in known)


def by_style(all_of_them: Sequence[Addressee]) -> Iterator[tuple[ObjectStyle, tuple[Addressee, ...]]]:
    """Group addressees by the style of their objects; the default style is there where there is nobody."""
    styles = dict.fromkeys(one.style for one in all_of_them) or {DEFAULT_STYLE: None}
    for style in styles:
        yield style, tuple(one for one in all_of_them if one.style == style)


def forms_to_write(members: Sequence[Addressee]) -> tuple[ObjectKind, ...]:
    """Return the forms that a style is written in: those of its addressees, SEG and SR where there are none.

    The SR is always written, for whom nobody gets it too: a later result of the study names it as its predecessor.
    """
    wanted = [form for one in members for form in one.forms] or list(DEFAULT_FORMS)
    return tuple(dict.fromkeys((*wanted, ObjectKind.SR)))


def _of_entry(entry: DestinationEntry, negotiation: Negotiation) -> Addressee:
    choice = choose(entry, negotiation.taken)
    style = ObjectStyle(entry.series_number_base, entry.series_description, entry.character_set, entry.shows_priority)
    return Addressee(entry.name, choice.forms, style, choice)
