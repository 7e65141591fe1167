from __future__ import annotations

import pytest

from dicom_gateway.chosen_forms import FALLBACKS, SENDABLE, SOP_CLASSES, Reason, choose
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind

SEG, LABELMAP, SR, SC = ObjectKind.SEG, ObjectKind.LABELMAP, ObjectKind.SR, ObjectKind.SC
GSPS, KO, PDF, PM = ObjectKind.GSPS, ObjectKind.KO, ObjectKind.PDF, ObjectKind.PM
EXPLICIT, IMPLICIT = SENDABLE


def entry(*forms: ObjectKind, keeps: bool = True, syntaxes: tuple[str, ...] | None = None) -> DestinationEntry:
    return DestinationEntry("pacs", "PACS@h:104", forms, keeps_segmentations=keeps, transfer_syntaxes=syntaxes)


def taking(*forms: ObjectKind, syntaxes: tuple[str, ...] = SENDABLE) -> dict[str, tuple[str, ...]]:
    return {uid: syntaxes if kind in forms else () for kind, uid in SOP_CLASSES.items()}


def test_a_peer_that_takes_all_gets_what_was_asked_for_and_nothing_is_to_be_told() -> None:
    chosen = choose(entry(*SOP_CLASSES), taking(*SOP_CLASSES))
    assert chosen.forms == tuple(SOP_CLASSES)
    assert (chosen.departures, chosen.reason) == ((), "")
    assert {choice.transfer_syntax for choice in chosen.choices} == {EXPLICIT}


def test_a_peer_that_said_nothing_is_sent_what_was_asked_for() -> None:
    chosen = choose(entry(SEG, SR), {})
    assert chosen.forms == (SEG, SR)
    assert [choice.reason for choice in chosen.choices] == [Reason.NOT_SAID] * 2
    assert [choice.transfer_syntax for choice in chosen.choices] == [None, None]
    assert chosen.departures == ()


@pytest.mark.parametrize(
    ("asked", "taken", "sent"),
    [
        (SEG, {LABELMAP, SC}, LABELMAP),
        (SEG, {SC}, SC),
        (LABELMAP, {SEG, SC}, SEG),
        (SR, {PDF, SC}, PDF),
        (SR, {SC}, SC),
        (SC, {PDF, SR}, PDF),
        (GSPS, {SC, PDF}, SC),
        (KO, {SC}, SC),
        (PDF, {SR, SC}, SR),
        (PM, {SEG, SC, SR}, None),
        (SEG, {SR, KO}, None),
    ],
)
def test_what_stands_in_for_a_form_that_is_not_taken(
    asked: ObjectKind, taken: set[ObjectKind], sent: ObjectKind | None
) -> None:
    (choice,) = choose(entry(asked), taking(*taken)).choices
    assert (choice.chosen, choice.reason) == (sent, Reason.NOT_TAKEN)


def test_two_forms_with_the_same_stand_in_send_it_once_and_both_are_told() -> None:
    chosen = choose(entry(SEG, SC, GSPS, SR), taking(SC, SR))
    assert chosen.forms == (SC, SR)
    assert chosen.reason == "SEG not_taken, SC instead; GSPS not_taken, SC instead"


def test_segmentations_that_are_not_kept_there_go_as_pictures() -> None:
    chosen = choose(entry(SEG, LABELMAP, SR, keeps=False), taking(*SOP_CLASSES))
    assert chosen.forms == (SC, SR)
    assert {choice.reason for choice in chosen.departures} == {Reason.NOT_KEPT}


def test_a_form_that_is_taken_in_another_transfer_syntax_than_allowed_is_not_sent() -> None:
    implicit = taking(SEG, SR, SC, syntaxes=(IMPLICIT,))
    (choice,) = choose(entry(SEG), implicit).choices
    assert (choice.chosen, choice.transfer_syntax) == (SEG, IMPLICIT)
    (choice,) = choose(entry(SEG, syntaxes=(EXPLICIT,)), implicit).choices
    assert (choice.chosen, choice.reason) == (None, Reason.WRONG_SYNTAX)
    (choice,) = choose(entry(SEG, syntaxes=(IMPLICIT,)), taking(SEG)).choices
    assert choice.transfer_syntax == IMPLICIT


def test_every_form_has_a_row_and_nothing_stands_in_for_itself() -> None:
    assert set(FALLBACKS) == set(SOP_CLASSES) == set(ObjectKind) - {ObjectKind.REJECTION}
    assert all(kind not in instead for kind, instead in FALLBACKS.items())
