from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from storage import deliveries, delivery_claims, processes
from storage.database import utc_now
from storage.domain import Priority
from storage.fetching import sources
from storage.fetching import studies as fetched_studies
from storage.fetching.sources import FetchSource, FetchWay
from storage.processes import Served
from storage.volumes import Extent
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.guards import guards_off
from tests.support.records import (
    DESTINATION,
    PATIENT,
    TWO_HEAD_ROUTES,
    analysed_study,
    closed_study,
    deliver,
    failed_study,
    queued_study,
    result,
    save_result,
    with_organs,
)


def test_studies_are_listed_in_the_form_that_scripts_rely_on(anywhere: Place) -> None:
    recorded = analysed_study(anywhere.database, anywhere.objects)
    assert oncue("studies", "list", "--state", anywhere.state, "--json").json == [
        {
            "study_instance_uid": recorded.study_instance_uid,
            "revision": 1,
            "state": "succeeded",
            "priority": "HIGH",
            "instances": 2,
            "finding": "Lesion",
            "volume_ml": 12.5,
            "confidence": 0.875,
            "analyses": [
                {
                    "route": "head-mr",
                    "state": "succeeded",
                    "code": None,
                    "finding": "Lesion",
                    "volume_ml": 12.5,
                    "confidence": 0.875,
                    "priority": "HIGH",
                }
            ],
            "cursor": "2026-03-01T12:00:00.000000Z~1",
        }
    ]


def test_a_study_without_a_result_has_nulls_in_their_place(place: Place) -> None:
    queued_study(place.database)
    (study,) = oncue("studies", "list", "--state", place.state, "--json").json
    assert study["state"] == "queued"
    assert [study[name] for name in ("priority", "finding", "volume_ml", "confidence")] == [None] * 4


def test_nothing_found_is_a_result_of_its_own(place: Place) -> None:
    analysed_study(place.database, place.objects, present=False, priority=Priority.ROUTINE)
    (study,) = oncue("studies", "list", "--state", place.state, "--json").json
    assert (study["finding"], study["volume_ml"], study["priority"]) == ("none", 0.0, "ROUTINE")


def test_a_study_that_no_route_wants_is_listed_quietly(anywhere: Place) -> None:
    closed = closed_study(anywhere.database, body_part="KNEE")
    (study,) = oncue("studies", "list", "--state", anywhere.state, "--json").json
    assert (study["study_instance_uid"], study["state"], study["analyses"]) == (
        closed.study_instance_uid, "not_applicable", [],
    )  # fmt: skip # reads by its lines
    assert [study[name] for name in ("priority", "finding", "volume_ml", "confidence")] == [None] * 4
    assert oncue("jobs", "list", "--state", anywhere.state, "--json").json == []
    assert oncue("worklist", "--state", anywhere.state, "--json").json == []
    assert "no route wants it" in oncue("studies", "list", "--state", anywhere.state).out
    shown = oncue("studies", "show", 1, "--state", anywhere.state)
    assert "body_part: wanted head, found lower-limb" in shown.out
    (detail,) = oncue("studies", "show", 1, "--state", anywhere.state, "--json").json
    head, *others = detail["study"]["reasons"]
    assert head == "route head-mr: series ..2.25.1001.1 body_part: wanted head, found lower-limb"
    assert [reason.partition(":")[0] for reason in others] == [
        f"route {name}" for name in ("limb-mr", "limb-ct", "limb-pet", "head-mr-contrast", "breast-us")
    ]


def test_a_study_that_was_fetched_as_a_prior_is_listed_as_one_that_no_route_was_asked_about(anywhere: Place) -> None:
    with anywhere.database.write() as session:
        sources.add(session, FetchSource("pacs", "PACS@127.0.0.1:104", FetchWay.MOVE), actor="test", now=utc_now())
        fetched_studies.want(session, "pacs", "2.25.1001", actor="fetching", now=utc_now(), is_prior=True)
    closed_study(anywhere.database)
    closed_study(anywhere.database, 2, body_part="KNEE")
    lines = oncue("studies", "list", "--state", anywhere.state).out.splitlines()
    said = {uid: next(line for line in lines if uid in line) for uid in ("2.25.1001", "2.25.1002")}
    assert "no route was asked: it came as a prior" in said["2.25.1001"]
    assert "no route wants it" in said["2.25.1002"]
    shown = oncue("studies", "show", 1, "--state", anywhere.state).out
    assert "no route wants it" not in shown
    assert "it was fetched as an earlier study of its patient" in shown


def test_each_route_of_a_study_has_its_own_entry(anywhere: Place) -> None:
    closed = closed_study(anywhere.database, routes=TWO_HEAD_ROUTES)
    found = replace(result(anywhere.objects), withheld="unlike_training_data")
    save_result(anywhere.database, anywhere.objects, closed.job_ids[0], found)
    (study,) = oncue("studies", "list", "--state", anywhere.state, "--json").json
    assert study["analyses"] == [
        {
            "route": "bleeding",
            "state": "succeeded",
            "code": "unlike_training_data",
            "finding": "Lesion",
            "volume_ml": 12.5,
            "confidence": 0.875,
            "priority": "HIGH",
        },
        {
            "route": "tumour",
            "state": "queued",
            "code": None,
            "finding": None,
            "volume_ml": None,
            "confidence": None,
            "priority": None,
        },
    ]
    assert (study["state"], study["finding"], study["priority"]) == ("queued", "Lesion", None)
    for command in (("studies", "list"), ("worklist",)):
        table = oncue(*command, "--state", anywhere.state).out
        assert "bleeding: Lesion, tumour-like, 12.5 ml, HIGH, not sent: unlike the training data" in table
        assert "tumour: queued" in table
    (listed,) = oncue("worklist", "--state", anywhere.state, "--json").json
    assert [one["withheld"] for one in listed["analyses"]] == ["unlike_training_data", None]
    assert "not sent: unlike the training data" in oncue("studies", "show", 1, "--state", anywhere.state).out
    without = oncue("studies", "explain", 1, "--route", "tumour", "--state", anywhere.state)
    assert without.err.startswith("error [record_missing]: study 1 has no result of route tumour yet")


def test_a_job_that_no_worker_serves_says_so(anywhere: Place) -> None:
    queued_study(anywhere.database)
    with anywhere.database.write() as session:
        others = frozenset({Served("other", "zero-shot")})
        processes.start(session, "worker-1", "worker", now=utc_now(), serves=others)
    (job,) = oncue("jobs", "list", "--state", anywhere.state, "--json").json
    assert (job["state"], job["code"]) == ("queued", "no_worker_for_route")
    (study,) = oncue("studies", "list", "--state", anywhere.state, "--json").json
    assert study["analyses"][0]["code"] == "no_worker_for_route"


def test_a_finding_has_only_the_sizes_that_its_image_tells(place: Place) -> None:
    closed = closed_study(place.database)
    found = result(place.objects)
    flat = replace(found.findings[0], extent=Extent.AREA, area_mm2=88.0, volume_ml=0.0)
    save_result(place.database, place.objects, closed.job_ids[0], replace(found, findings=(flat,)))
    (detail,) = oncue("studies", "show", 1, "--state", place.state, "--json").json
    (finding,) = detail["result"]["findings"]
    assert (finding["extent"], finding["volume_ml"], finding["area_mm2"]) == ("area", None, 88.0)
    assert detail["study"]["volume_ml"] is None
    assert "volume ml" not in oncue("studies", "show", 1, "--state", place.state).out


def test_organs_stand_below_the_findings_that_name_them(anywhere: Place) -> None:
    closed = closed_study(anywhere.database)
    save_result(anywhere.database, anywhere.objects, closed.job_ids[0], with_organs(result(anywhere.objects)))
    shown = oncue("studies", "show", 1, "--state", anywhere.state).out
    assert re.search(r"lies in +Kidney, left", shown)
    assert re.search(r"2 +Kidney, left +kidney_left +180 +1", shown)
    assert re.search(r"3 +Kidney, right +kidney_right +166", shown)
    (detail,) = oncue("studies", "show", 1, "--state", anywhere.state, "--json").json
    assert [one["organ"] for one in detail["result"]["structures"]] == ["Kidney", "Kidney"]
    (listed,) = oncue("worklist", "--state", anywhere.state, "--json").json
    assert (listed["finding"], listed["volume_ml"]) == ("Lesion", 12.5)


def test_jobs_are_listed_in_the_form_that_scripts_rely_on(anywhere: Place) -> None:
    failed = failed_study(anywhere.database)
    assert oncue("jobs", "list", "--state", anywhere.state, "--json").json == [
        {
            "id": failed.job_id,
            "study_instance_uid": failed.study_instance_uid,
            "revision": 1,
            "route": "head-mr",
            "pool": "default",
            "state": "failed",
            "attempts": 1,
            "code": "no_usable_series",
            "cursor": str(failed.job_id),
        }
    ]


def test_jobs_show_adds_the_reason_and_retry_queues_it_again(anywhere: Place) -> None:
    failed = failed_study(anywhere.database)
    (shown,) = oncue("jobs", "show", failed.job_id, "--state", anywhere.state, "--json").json
    assert (shown["state"], shown["code"], shown["reason"]) == (
        "failed",
        "no_usable_series",
        "every series was left out",
    )
    (retried,) = oncue("jobs", "retry", failed.job_id, "--state", anywhere.state, "--json").json
    assert (retried["id"], retried["state"], retried["attempts"], retried["code"]) == (failed.job_id, "queued", 0, None)
    again = oncue("jobs", "retry", failed.job_id, "--state", anywhere.state)
    assert again.code == 1
    assert again.err.startswith("error [illegal_transition]: ")


def test_jobs_can_be_filtered_by_state_and_a_wrong_state_is_a_usage_error(place: Place) -> None:
    queued_study(place.database, 1)
    failed_study(place.database, 2)
    assert [job["state"] for job in oncue("jobs", "list", "--state", place.state, "--json", "--in", "failed").json] == [
        "failed"
    ]
    wrong = oncue("jobs", "list", "--state", place.state, "--in", "broken")
    assert wrong.code == 2
    assert "queued, running, succeeded, failed, superseded" in wrong.err


def test_deliveries_are_listed_in_the_form_that_scripts_rely_on(anywhere: Place) -> None:
    analysed_study(anywhere.database, anywhere.objects)
    deliver(anywhere.database)
    listed = oncue("deliveries", "list", "--state", anywhere.state, "--json").json
    assert listed == [
        {
            "sop_instance_uid": uid,
            "kind": kind,
            "destination": DESTINATION,
            "state": "sent",
            "status": 0,
            "id": number,
            "attempts": 1,
            "code": None,
            "reason": None,
            "proof": None,
            "cursor": str(number),
        }
        for number, uid, kind in ((2, "2.25.9012", "SR"), (1, "2.25.9010", "SEG"))
    ]


@pytest.mark.parametrize("which", ["1", "2.25.9010"])
def test_a_refused_delivery_says_why(place: Place, which: str) -> None:
    analysed_study(place.database, place.objects)
    deliver(place.database)
    now = utc_now() + timedelta(seconds=1)
    with place.database.write() as session:
        deliveries.retry(session, 1, actor="test", now=utc_now())
        (held,) = delivery_claims.claim_due(session, owner="test", lease_seconds=60, now=now, busy=frozenset())
        deliveries.refused(
            session,
            held.id,
            owner="test",
            status=0xA900,
            code="peer_rejected_object",
            reason="PACS answered 0xA900",
            now=now,
        )
    (listed,) = oncue("deliveries", "list", "--in", "refused", "--state", place.state, "--json").json
    assert (listed["code"], listed["reason"]) == ("peer_rejected_object", "PACS answered 0xA900")
    (shown,) = oncue("deliveries", "show", which, "--state", place.state, "--json").json
    assert (shown["id"], shown["state"], shown["reason"]) == (1, "refused", "PACS answered 0xA900")
    assert "0xA900: the data set does not match" in oncue("deliveries", "show", which, "--state", place.state).out
    assert oncue("deliveries", "show", "77", "--state", place.state).err.startswith("error [record_missing]")


@pytest.mark.parametrize("which", ["1", "2.25.9010"])
def test_a_delivery_can_be_sent_once_more_by_number_or_by_uid(place: Place, which: str) -> None:
    analysed_study(place.database, place.objects)
    deliver(place.database)
    (retried,) = oncue("deliveries", "retry", which, "--state", place.state, "--json").json
    assert (retried["sop_instance_uid"], retried["state"]) == ("2.25.9010", "pending")
    assert oncue("deliveries", "retry", "77", "--state", place.state).err.startswith("error [record_missing]")
    assert oncue("deliveries", "retry", "1.2.3", "--state", place.state).err.startswith("error [record_missing]")


def test_the_worklist_is_in_reading_order(anywhere: Place) -> None:
    for number, (priority, confidence) in enumerate(
        [(Priority.ROUTINE, 0.9), (Priority.STAT, 0.6), (Priority.HIGH, 0.5), (Priority.HIGH, 0.8)], start=1
    ):
        analysed_study(anywhere.database, anywhere.objects, number, priority=priority, confidence=confidence)
    queued_study(anywhere.database, 9)
    listed = oncue("worklist", "--state", anywhere.state, "--json").json
    assert [(study["priority"], study["confidence"]) for study in listed] == [
        ("STAT", 0.6),
        ("HIGH", 0.8),
        ("HIGH", 0.5),
        ("ROUTINE", 0.9),
    ]
    assert PATIENT not in str(listed)


def test_the_audit_chain_is_listed_shown_and_proved(anywhere: Place) -> None:
    analysed_study(anywhere.database, anywhere.objects)
    events = oncue("audit", "list", "--state", anywhere.state, "--json").json
    assert events[0]["seq"] == len(events)
    assert "study:prioritised" in {event["tag"] for event in events}
    proof = oncue("audit", "verify", "--state", anywhere.state, "--json")
    assert proof.code == 0
    assert (proof.json["events"], proof.json["problems"]) == (len(events) + 1, [])  # the listing is an event, too
    (shown,) = oncue("audit", "show", 1, "--state", anywhere.state, "--json").json
    assert shown == events[-1]
    assert oncue("audit", "show", 999, "--state", anywhere.state).err.startswith("error [record_missing]")


def test_audit_events_can_be_chosen_by_subject_and_tag(place: Place) -> None:
    failed = failed_study(place.database)
    of_job = oncue("audit", "list", "--state", place.state, "--json", "--subject", f"job/{failed.job_id}").json
    assert [event["tag"] for event in of_job] == ["job:opened", "job:claimed", "job:failed"]
    (only,) = oncue("audit", "list", "--state", place.state, "--json", "--tag", "job:failed").json
    assert only["details"]["code"] == "no_usable_series"


def test_a_forged_event_is_named_and_the_exit_code_says_so(anywhere: Place) -> None:
    analysed_study(anywhere.database, anywhere.objects)
    assert oncue("audit", "verify", "--state", anywhere.state).code == 0
    with guards_off(anywhere.database), anywhere.database.write() as session:
        session.execute(text("UPDATE audit_events SET actor = 'nobody' WHERE seq = 3"))
    proof = oncue("audit", "verify", "--state", anywhere.state, "--json")
    assert proof.code == 1
    assert proof.json["problems"] == [
        "event 3 (leaf 2) was changed, or put in another's place: it is not what was sealed"
    ]
    assert "error [audit_chain_broken]: event 3" in proof.err


@pytest.mark.slow
def test_tables_are_for_people_and_empty_ones_say_so(place: Place) -> None:
    for arguments, sentence in (
        (("studies", "list"), "no study has arrived yet"),
        (("studies", "list", "--in", "held"), "no such study"),
        (("jobs", "list", "--in", "failed"), "no such job"),
        (("deliveries", "list", "--in", "refused"), "no such delivery"),
        (("worklist", "--priority", "STAT"), "no such study is analysed, or all of them are read"),
        (("worklist", "--all", "--priority", "STAT"), "no such study is analysed"),
        (("jobs", "list"), "no job has been opened yet"),
        (("deliveries", "list"), "nothing has been sent on its way yet"),
        (("worklist",), "nothing has been analysed yet"),
    ):
        assert sentence in oncue(*arguments, "--state", place.state).out
        assert oncue(*arguments, "--state", place.state, "--json").json == []
    recorded = analysed_study(place.database, place.objects)
    for arguments in (("studies", "list"), ("jobs", "list"), ("worklist",)):
        assert recorded.study_instance_uid in oncue(*arguments, "--state", place.state).out
