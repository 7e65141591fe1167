"""HL7 v2 messages as a receiver reads them."""

from __future__ import annotations

from dataclasses import replace

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_gateway.announcing.announcement import AnnouncedPatient, Announcement
from dicom_gateway.announcing.hl7_fields import encoded
from dicom_gateway.announcing.hl7_message import order_message, result_message
from dicom_gateway.announcing.options import Hl7Options
from storage.announcing.tables import AnnouncementLevel
from storage.care_settings import CareSetting
from storage.domain import Priority
from tests.support.announced_studies import (
    FOUND,
    LABELLED,
    NOT_FOUND,
    PATIENT,
    STUDY,
    announcement,
    changed,
)

_OPTIONS = Hl7Options(
    sending_facility="CLINIC", receiving_application="RIS", receiving_facility="HOSPITAL", assigning_authority="KIS"
)

_MEANINGS = {
    Priority.STAT: "Read at once",
    Priority.HIGH: "Read soon",
    Priority.ROUTINE: "Read in turn",
    Priority.LOW: "Read last",
}


def received(what: Announcement, options: Hl7Options = _OPTIONS, *, encoding: str = "utf-8") -> hl7.Message:
    """Return the result's message as somebody reads it from the wire."""
    return hl7.parse(encoded(result_message(what, options), options.character_set), encoding=encoding)


def observations(message: hl7.Message) -> dict[tuple[str, str], hl7.Segment]:
    """Return the observations by the code and the sub-id that they have."""
    return {(str(one[3][0][0]), str(one[4])): one for one in message.segments("OBX")}


def test_the_header_says_from_whom_to_whom_and_in_which_version() -> None:
    message = received(announcement())
    assert str(message["MSH"][0]).startswith(
        "MSH|^~\\&|ONCUE|CLINIC|RIS|HOSPITAL|20260301080131+0000||ORU^R01^ORU_R01|"
    )
    assert message["MSH.F11"] == "P"
    assert message["MSH.F12"] == "2.5.1"
    assert message["MSH.F18"] == "UNICODE UTF-8"


def test_the_control_id_is_that_of_the_fact_and_of_the_kind_of_message() -> None:
    first, repeat = announcement(), announcement()
    other = announcement(key="00" * 32)
    ids = [received(one)["MSH.F10"] for one in (first, repeat, other)]
    assert ids[0] == ids[1] != ids[2]
    assert order_message(first, _OPTIONS)["MSH.F10"] != ids[0]
    assert all(0 < len(one) <= 20 for one in ids)


def test_the_patient_and_the_order_are_those_of_the_images() -> None:
    message = received(announcement())
    assert str(message["PID"][0]) == "PID|1||4711^^^KIS^PI||Müller^Änne^^jr.^Dr.^^L^A||19600229|F"
    assert str(message["PV1"][0]) == "PV1|1|E"
    assert message["ORC.F1"] == "RE"
    assert message["OBR.F3"] == message["OBR.F18"] == message["ORC.F3"] == "ACC-99"
    assert message["OBR.F7"] == "20260301"
    assert message["OBR.F25"] == "P"


@pytest.mark.parametrize(
    ("setting", "patient_class"),
    [(CareSetting.EMERGENCY, "E"), (CareSetting.INPATIENT, "I"), (CareSetting.OUTPATIENT, "O"), (None, "U")],
)
def test_the_class_of_the_patient_follows_the_setting(setting: CareSetting | None, patient_class: str) -> None:
    told = announcement(setting=setting)
    assert received(told)["PV1.F2"] == patient_class
    assert order_message(told, _OPTIONS)["PV1.F2"] == patient_class


def test_without_an_accession_number_the_study_is_what_the_result_is_filed_under() -> None:
    message = received(announcement(accession_number=None))
    assert message["OBR.F3"] == STUDY
    assert message["OBR.F18"] == ""


def test_an_issuer_of_the_images_comes_before_that_of_the_options() -> None:
    issued = announcement(patient=replace(PATIENT, issuer="ELSEWHERE"))
    assert str(received(issued)["PID"][0][3]) == "4711^^^ELSEWHERE^PI"
    with_oid = replace(_OPTIONS, assigning_authority="KIS&1.2.3&ISO")
    assert str(received(announcement(), with_oid)["PID"][0][3]) == "4711^^^KIS&1.2.3&ISO^PI"


@pytest.mark.parametrize(
    ("priority", "flags"),
    [
        (Priority.STAT, ("AA", "AA")),
        (Priority.HIGH, ("A", "A")),
        (Priority.ROUTINE, ("", "A")),
        (Priority.LOW, ("", "A")),
    ],
)
def test_abnormal_flags_follow_the_priority(priority: Priority, flags: tuple[str, str]) -> None:
    found = observations(received(announcement(priority=priority)))
    assert str(found["READING_PRIORITY", ""][5]) == f"{priority.value}^{_MEANINGS[priority]}^99ONCUE"
    assert (str(found["READING_PRIORITY", ""][8]), str(found["52988006", "1"][8])) == flags


def test_a_finding_is_coded_and_measured() -> None:
    found = observations(received(announcement()))
    assert str(found["52988006", "1"][5]) == "52101004^Present^SCT"
    assert str(found["118565006", "1"]).split("|")[2:7] == [
        "NM",
        "118565006^Volume^SCT",
        "1",
        "12.35",
        "ml^milliliter^UCUM",
    ]
    assert str(found["103339001", "1"][5]) == "31.20"
    assert str(found["111012", "1"][5]) == "93.40"
    assert str(found["CLASS", "1"][5]) == "glioma^glioma^L"
    assert str(found["112040", "1"][5]) == "2.25.42"
    assert {str(one[11]) for one in found.values()} == {"P"}


def test_what_was_not_found_is_normal_and_has_no_size() -> None:
    found = observations(received(announcement(priority=Priority.ROUTINE, findings=(NOT_FOUND,))))
    assert str(found["52988006", "1"][5]) == "272519000^Absent^SCT"
    assert str(found["52988006", "1"][8]) == "N"
    assert ("118565006", "1") not in found


def test_the_label_of_an_image_does_not_say_that_anything_is_normal() -> None:
    found = observations(received(announcement(priority=Priority.ROUTINE, findings=(LABELLED,))))
    assert str(found["363679005", "1"][5]) == "pneumonia^pneumonia^L"
    assert str(found["363679005", "1"][8]) == ""


def test_the_rule_the_policy_the_algorithm_and_the_objects_are_named() -> None:
    found = observations(received(announcement()))
    assert str(found["TRIAGE_RULE", ""][5]) == "large lesion"
    assert str(found["TRIAGE_POLICY", ""][5]) == "ab" * 32
    assert str(found["111001", ""][5]) == "zero-shot 1.4.0"
    assert str(found["110180", ""][5]) == STUDY
    assert str(found["RESULT_OBJECT", "1"][5]) == "2.25.50"


def test_no_two_observations_have_the_same_code_and_sub_id() -> None:
    objects = announcement().objects
    message = received(announcement(findings=(FOUND, FOUND, NOT_FOUND), objects=(*objects, *objects)))
    assert len(observations(message)) == len(message.segments("OBX"))
    assert [str(one[1]) for one in message.segments("OBX")] == [
        str(at) for at in range(1, len(observations(message)) + 1)
    ]


def test_a_change_is_a_correction_and_says_from_what() -> None:
    message = received(changed(Priority.ROUTINE, Priority.STAT))
    assert {str(one[11]) for one in message.segments("OBX")} == {"C"}
    assert str(message["NTE"][0][3]) == "Reading priority changed from STAT to ROUTINE by rule large lesion."
    assert message["OBR.F3"] == received(announcement())["OBR.F3"]


def test_a_priority_that_was_taken_away_is_deleted() -> None:
    message = received(changed(None, Priority.STAT))
    found = observations(message)
    assert str(found["READING_PRIORITY", ""][5]) == ""
    assert {str(one[11]) for one in found.values()} == {"D"}
    assert ("52988006", "1") not in found
    assert [str(one[3]) for one in message["NTE"]] == [
        "The reading priority STAT no longer stands: a later result took it away."
    ]
    assert [key[0] for key in found] == ["READING_PRIORITY", "110180", "STUDY_PAGE"]


def test_an_escalation_says_that_nobody_opened_the_study() -> None:
    message = received(announcement(level=AnnouncementLevel.ESCALATION))
    assert "nobody has opened the study" in str(message["NTE"][0][3])
    assert {str(one[11]) for one in message.segments("OBX")} == {"P"}


@pytest.mark.parametrize(("version", "kind"), [("2.3.1", "CE"), ("2.4", "CE"), ("2.5", "CWE"), ("2.8", "CWE")])
def test_coded_values_have_the_type_that_the_version_knows(version: str, kind: str) -> None:
    message = received(announcement(), replace(_OPTIONS, version=version))
    assert str(message.segments("OBX")(1)[2]) == kind


@pytest.mark.parametrize(
    ("priority", "code"),
    [(Priority.STAT, "S"), (Priority.HIGH, "A"), (Priority.ROUTINE, "R"), (Priority.LOW, "R"), (None, "R")],
)
def test_an_order_update_has_the_priority_in_every_place_that_receivers_look_at(
    priority: Priority | None, code: str
) -> None:
    what = announcement(priority=priority) if priority else changed(None, Priority.STAT)
    message = hl7.parse(str(order_message(what, _OPTIONS)))
    assert str(message["MSH"][0][9]) == "ORM^O01^ORM_O01"
    assert message["ORC.F1"] == "XO"
    assert message["ORC.F3"] == "ACC-99"
    assert message["TQ1.F9"] == code
    assert message["OBR.F27.R1.C6"] == message["ORC.F7.R1.C6"] == code


def test_fields_that_a_version_does_not_have_are_left_out() -> None:
    before, after = (
        hl7.parse(str(order_message(announcement(), replace(_OPTIONS, version=v)))) for v in ("2.4", "2.7")
    )
    assert before["OBR.F27.R1.C6"] == "S"
    with pytest.raises(KeyError):
        before.segment("TQ1")
    assert len(after.segment("OBR")) <= 27 or after["OBR.F27"] == ""
    assert after["TQ1.F9"] == "S"


def test_delimiters_in_names_do_not_end_fields() -> None:
    odd = AnnouncedPatient("47|11", "", "O'Neil|~&^Ann\\E\\", None, "X")
    message = received(announcement(patient=odd, rule="a^b & c|d~e\\f", accession_number="A^1"))
    assert message["PID.F3"] == "47|11"
    assert message["PID.F5"] == "O'Neil|~&"
    assert message["PID.F5.R1.C2"] == "Ann\\E\\"
    assert message["PID.F8"] == "U"
    assert message["OBR.F3"] == "A^1"
    assert message.unescape(str(observations(message)["TRIAGE_RULE", ""][5])) == "a^b & c|d~e\\f"


@given(text=st.text(max_size=60))
def test_no_text_breaks_a_message(text: str) -> None:
    what = announcement(patient=AnnouncedPatient("4711", text, text, None, text), rule=text, algorithm=f"net {text}")
    plain = received(announcement())
    message = received(what)
    assert [str(one[0]) for one in message] == [str(one[0]) for one in plain]
    assert [str(one[1]) for one in message.segments("OBX")] == [str(one[1]) for one in plain.segments("OBX")]
    assert message["PID.F3"] == "4711"


def test_control_characters_never_come_through() -> None:
    odd = announcement(patient=replace(PATIENT, name="Mül\r\nPID|2^\x1c\r\x0b\x00\x07\x7f"), algorithm="a\rOBX|99|")
    content = encoded(result_message(odd, _OPTIONS), _OPTIONS.character_set)
    assert {byte for byte in content if byte < 0x20 or byte == 0x7F} == {0x0D}
    assert content.count(b"\rPID") == 1


def test_letters_that_cannot_be_seen_stay_in_names_and_turned_text_does_not() -> None:
    message = received(announcement(patient=replace(PATIENT, name="می\u200cخش^A\u202eB")))
    assert message["PID.F5"] == "می\u200cخش"
    assert message["PID.F5.R1.C2"] == "A B"


def test_long_text_is_cut_and_identifiers_are_not() -> None:
    message = received(announcement(rule="r" * 500, accession_number="9" * 64))
    assert len(str(observations(message)["TRIAGE_RULE", ""][5])) == 199
    assert message["OBR.F3"] == "9" * 64


@pytest.mark.parametrize(
    ("character_set", "encoding", "family"),
    [("8859/1", "latin-1", "Müller"), ("8859/15", "iso8859-15", "Müller"), ("ASCII", "ascii", "M?ller")],
)
def test_names_are_written_in_the_character_set_of_the_channel(character_set: str, encoding: str, family: str) -> None:
    message = received(announcement(), replace(_OPTIONS, character_set=character_set), encoding=encoding)
    assert message["MSH.F18"] == character_set
    assert message["PID.F5"] == family


def test_a_name_comes_in_each_way_that_it_is_written_and_that_the_set_can_write() -> None:
    named = announcement(patient=replace(PATIENT, name="Yamada^Tarou=山田^太郎=やまだ^たろう"))
    assert [str(one[0]) for one in received(named)["PID"][0][5]] == ["Yamada", "山田", "やまだ"]
    latin = received(named, replace(_OPTIONS, character_set="8859/1"), encoding="latin-1")
    assert str(latin["PID"][0][5]) == "Yamada^Tarou^^^^^L^A"
