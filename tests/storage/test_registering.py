"""Instances as they are registered, and studies as they close, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from storage import associations, audit, job_lists, jobs, processes, registering, studies, worklist
from storage.arrivals import Arrival, Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Lane, StoredInstance
from storage.errors import LeaseLost
from storage.models import InstanceRow
from storage.registering import Registration
from storage.routes.file import parse_routes
from storage.routes.series_facts import SeriesFacts
from storage.states import JobState, StudyState
from tests.support.routing import close_as_head, close_quiet, head_series, quiet_studies, seen

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
REPORT = "1.2.840.10008.5.1.4.1.1.88.22"
TWO_ROUTES = parse_routes(
    b"""
version = 1
[[route]]
name = "head-mr"
analyser = "zero-shot"
match = { modality = ["MR"], body_part = ["head"] }
[[route]]
name = "chest-ct"
analyser = "chest"
pool = "chest"
lane = "stat"
match = { modality = ["CT"], body_part = ["chest"] }
""",
    name="two.toml",
)


def _instance(number: int = 1, *, content: str = "b") -> StoredInstance:
    digest = content * 64
    return StoredInstance("1.2.3", "1.2.4", f"1.2.5.{number}", MR, "1.2.840.10008.1.2.1", "MR", digest, digest, 10)


def _register(
    database: Database,
    instance: StoredInstance,
    *,
    now: datetime = NOW,
    association_id: str | None = None,
    patient: str = "P1",
) -> Registration:
    origin = Origin("SENDER", association_id)
    with database.write() as session:
        return registering.register_instance(session, instance, StudyFacts(patient), origin=origin, now=now)


def _arrival(instance: StoredInstance, association_id: str | None = None) -> Arrival:
    origin = Origin("SENDER", association_id)
    return Arrival(instance, StudyFacts("P1"), origin, received_at=NOW)


def test_a_version_received_before_the_current_one_is_kept_beside_it_unless_the_clock_was_set_back(
    database: Database,
) -> None:
    later = NOW + timedelta(minutes=5)
    _register(database, _instance(1, content="b"), now=NOW)
    _register(database, _instance(1, content="c"), now=later)
    early = [_arrival(_instance(1, content=content)) for content in "bd"]
    early = [replace(arrival, received_at=NOW) for arrival in early]
    with database.write() as session:
        outcomes = registering.register_instances(session, early, now=later)
    assert outcomes == (Registration.DUPLICATE, Registration.SUPERSEDED)
    assert _current(database) == {"c"}
    with database.write() as session:
        registering.register_instances(session, early[1:], now=later)
        assert len(session.scalars(select(InstanceRow)).all()) == 3
    assert _register(database, _instance(1, content="e"), now=NOW) is Registration.CHANGED
    assert _current(database) == {"e"}, "the clock was set back behind the current version, so it says nothing"


def _current(database: Database) -> set[str]:
    with database.read() as session:
        return {item.digest[0] for item in studies.instances_of(session, 1)}


def test_a_batch_of_instances_is_registered_as_one_after_another_would_be(database: Database) -> None:
    _register(database, _instance(1))
    _register(database, _instance(2))
    other = replace(_instance(1), study_instance_uid="1.2.2", series_instance_uid="1.2.2.1")
    batch = [
        _instance(3),
        _instance(3),
        _instance(1, content="c"),
        _instance(2),
        other,
        _instance(4),
        _instance(4, content="d"),
    ]
    association_id = _associate(database)
    with database.write() as session:
        outcomes = registering.register_instances(session, [_arrival(one, association_id) for one in batch], now=NOW)
    new, duplicate, changed = Registration.NEW, Registration.DUPLICATE, Registration.CHANGED
    assert outcomes == (new, duplicate, changed, duplicate, new, new, changed)
    with database.read() as session:
        current = {item.sop_instance_uid: item.digest[0] for item in studies.instances_of(session, 1)}
        assert current == {"1.2.5.1": "c", "1.2.5.2": "b", "1.2.5.3": "b", "1.2.5.4": "d"}
        assert len(audit.history(session, tag="instance:stored")) == 5
        assert len(audit.history(session, tag="instance:changed")) == 2
        assert quiet_studies(session, quiet_seconds=10, now=NOW + timedelta(seconds=20)) == (), "both are being sent"


def test_a_batch_with_an_image_of_a_closed_study_reopens_it_once(database: Database) -> None:
    _register(database, _instance(1))
    _close(database, now=NOW + timedelta(seconds=20))
    later = NOW + timedelta(seconds=30)
    with database.write() as session:
        registering.register_instances(session, [_arrival(_instance(number)) for number in (2, 3)], now=later)
    with database.read() as session:
        (reopened,) = audit.history(session, tag="study:reopened")
        assert reopened.details == '{"revision":2}'
        assert len(studies.instances_of(session, 1)) == 3
        assert quiet_studies(session, quiet_seconds=10, now=later + timedelta(seconds=11)) == (1,)


def test_the_time_of_an_image_on_record_is_when_it_was_whole_and_a_study_is_quiet_from_its_registration_on(
    database: Database,
) -> None:
    registered = NOW + timedelta(minutes=5)
    with database.write() as session:
        registering.register_instances(session, [_arrival(_instance(1))], now=registered)
    with database.read() as session:
        assert session.scalars(select(InstanceRow.received_at)).one() == NOW
        assert quiet_studies(session, quiet_seconds=10, now=registered + timedelta(seconds=9)) == ()
        assert quiet_studies(session, quiet_seconds=10, now=registered + timedelta(seconds=11)) == (1,)


def _associate(database: Database) -> str:
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
        return associations.opened(
            session, process_id="gateway-1", calling_aet="SENDER", called_aet="US", remote_address="10.0.0.1", now=NOW
        )


def _close_seen(database: Database, whole: SeenStudy, *, now: datetime) -> tuple[int, ...]:
    with database.write() as session:
        opened = close_quiet(session, 1, whole, quiet_seconds=10, now=now)
    assert opened is not None
    return opened


def _close(database: Database, *, now: datetime, quiet_seconds: float = 10) -> int | None:
    with database.write() as session:
        found = quiet_studies(session, quiet_seconds=quiet_seconds, now=now)
        return close_as_head(session, found[0], quiet_seconds=quiet_seconds, now=now) if found else None


def _tags(database: Database) -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session)]


def test_the_same_instance_sent_twice_is_registered_once(database: Database) -> None:
    assert _register(database, _instance()) is Registration.NEW
    assert _register(database, _instance(), now=NOW + timedelta(hours=1)) is Registration.DUPLICATE
    with database.read() as session:
        assert len(studies.instances_of(session, 1)) == 1
    assert _tags(database) == ["study:opened", "instance:stored"]


def test_changed_content_under_the_same_uid_replaces_but_keeps_the_old_row(database: Database) -> None:
    _register(database, _instance(content="b"))
    assert _register(database, _instance(content="c")) is Registration.CHANGED
    assert _register(database, _instance(content="c")) is Registration.DUPLICATE
    with database.read() as session:
        assert [instance.digest for instance in studies.instances_of(session, 1)] == ["c" * 64]
    assert _tags(database)[-1] == "instance:changed"


def test_a_correction_that_is_taken_back_brings_the_earlier_content_back(database: Database) -> None:
    _register(database, _instance(content="b"))
    _register(database, _instance(content="c"))
    _close(database, now=NOW + timedelta(seconds=11))
    assert _register(database, _instance(content="b"), now=NOW + timedelta(hours=1)) is Registration.CHANGED
    with database.read() as session:
        assert [instance.digest for instance in studies.instances_of(session, 1)] == ["b" * 64]
    assert "study:reopened" in _tags(database)
    assert _close(database, now=NOW + timedelta(hours=2)) is not None


def test_one_uid_in_two_series_is_two_instances_and_both_stay_current(database: Database) -> None:
    _register(database, _instance())
    copy = replace(_instance(content="c"), series_instance_uid="1.2.4.9")
    assert _register(database, copy) is Registration.NEW
    with database.read() as session:
        assert {one.series_instance_uid for one in studies.instances_of(session, 1)} == {"1.2.4", "1.2.4.9"}


def test_a_patient_corrected_later_is_taken_over_and_on_record(database: Database) -> None:
    _register(database, _instance(content="b"))
    _close(database, now=NOW + timedelta(seconds=11))
    _register(database, _instance(content="c"), patient="P2", now=NOW + timedelta(hours=1))
    with database.read() as session:
        entry = worklist.find(session, 1)
        event = next(event for event in audit.history(session) if event.tag == "study:patient-changed")
    assert entry.patient_id == "P2"
    assert "P2" not in event.details
    assert "P1" not in event.details


@pytest.mark.parametrize("sop_class", [KEY_OBJECT, PRESENTATION_STATE, REPORT])
def test_what_is_no_image_joins_a_closed_study_without_opening_it_again(database: Database, sop_class: str) -> None:
    _register(database, _instance())
    job_id = _close(database, now=NOW + timedelta(seconds=11))
    late = replace(_instance(2), sop_class_uid=sop_class, modality="KO", series_instance_uid="1.2.4.7")
    assert _register(database, late, now=NOW + timedelta(seconds=20)) is Registration.NEW
    assert job_id is not None
    with database.read() as session:
        assert job_lists.find(session, job_id).state is JobState.QUEUED
        assert len(studies.instances_of(session, 1)) == 2
    assert "study:reopened" not in _tags(database)


def test_a_late_image_of_a_series_that_no_job_reads_costs_no_second_analysis(database: Database) -> None:
    scout = SeriesFacts("1.2.4.8", "MR", body_part_examined="HEAD", series_description="localizer", frames=3)
    wanted = head_series("1.2.4")
    _register(database, _instance(1))
    _register(database, replace(_instance(2), series_instance_uid="1.2.4.8"))
    first = _close_seen(database, seen(wanted, scout), now=NOW + timedelta(seconds=11))
    _register(database, replace(_instance(3), series_instance_uid="1.2.4.8"), now=NOW + timedelta(seconds=20))
    with database.read() as session:
        assert job_lists.find(session, first[0]).state is JobState.QUEUED
    assert _close_seen(database, seen(wanted, scout), now=NOW + timedelta(seconds=40)) == ()
    with database.read() as session:
        assert job_lists.find(session, first[0]).state is JobState.QUEUED
    assert {"study:reopened", "job:kept"} <= set(_tags(database))


def test_a_running_job_loses_its_hold_when_a_late_image_of_its_series_comes(database: Database) -> None:
    _register(database, _instance(1))
    job_id = _close(database, now=NOW + timedelta(seconds=11))
    assert job_id is not None
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="w", lease_seconds=60, now=NOW)
    assert held is not None
    _register(database, _instance(2), now=NOW + timedelta(seconds=20))
    with database.write() as session, pytest.raises(LeaseLost):
        jobs.extend_lease(session, held, lease_seconds=60, now=NOW)
    with database.write() as session, pytest.raises(LeaseLost):
        jobs.complete(session, held, now=NOW)


def test_a_study_that_no_route_wants_opens_no_job_and_says_why(database: Database) -> None:
    knee = SeriesFacts("1.2.4", "MR", body_part_examined="KNEE", series_description="PD TSE", frames=30)
    _register(database, _instance())
    assert _close_seen(database, seen(knee), now=NOW + timedelta(seconds=11)) == ()
    with database.read() as session:
        entry = worklist.find(session, 1)
        assert not job_lists.listed(session)
    assert (entry.state, entry.code, entry.job_id) == (StudyState.NOT_APPLICABLE, None, None)
    assert "body_part" in entry.reasons[0]
    assert _tags(database)[-1] == "study:not-applicable"


def test_two_routes_open_two_jobs_and_each_keeps_its_own_state(database: Database) -> None:
    _register(database, _instance(1))
    _register(database, replace(_instance(2), series_instance_uid="1.2.9", modality="CT"))
    chest = SeriesFacts("1.2.9", "CT", body_part_examined="CHEST", frames=60)
    both = seen(head_series("1.2.4"), chest, routes=TWO_ROUTES)
    opened = _close_seen(database, both, now=NOW + timedelta(seconds=11))
    with database.read() as session:
        found = {job_lists.find(session, job_id).route: job_lists.find(session, job_id) for job_id in opened}
    assert {name: job.wanted for name, job in found.items()} == {"head-mr": ("1.2.4",), "chest-ct": ("1.2.9",)}
    assert (found["chest-ct"].lane, found["chest-ct"].pool) == (Lane.STAT, "chest")
    with database.write() as session:
        held = jobs.claim(session, found["chest-ct"].id, owner="w", lease_seconds=60, now=NOW)
        assert held is not None
        jobs.fail(session, held, code="incomplete_volume", reason="slices lack", retryable=False, now=NOW)
    with database.read() as session:
        entry = worklist.find(session, 1)
    assert entry.state is StudyState.QUEUED
    assert [(one.route, one.state, one.code) for one in entry.analyses] == [
        ("chest-ct", JobState.FAILED, "incomplete_volume"),
        ("head-mr", JobState.QUEUED, None),
    ]


def test_a_route_that_no_longer_applies_has_its_job_set_aside(database: Database) -> None:
    _register(database, _instance(1))
    (job_id,) = _close_seen(database, seen(head_series("1.2.4")), now=NOW + timedelta(seconds=11))
    _register(database, _instance(1, content="c"), now=NOW + timedelta(seconds=20))
    knee = SeriesFacts("1.2.4", "MR", body_part_examined="KNEE", frames=30)
    assert _close_seen(database, seen(knee), now=NOW + timedelta(seconds=40)) == ()
    with database.read() as session:
        assert job_lists.find(session, job_id).state is JobState.SUPERSEDED
        assert worklist.find(session, 1).state is StudyState.NOT_APPLICABLE


def test_an_association_protects_every_study_that_it_sent(database: Database) -> None:
    association_id = _associate(database)
    _register(database, _instance(1), association_id=association_id)
    other = replace(_instance(9), study_instance_uid="1.2.3.9")
    _register(database, other, association_id=association_id, now=NOW + timedelta(seconds=5))
    with database.read() as session:
        assert quiet_studies(session, quiet_seconds=10, now=NOW + timedelta(seconds=20)) == ()
    with database.write() as session:
        associations.closed(session, association_id, how="released", now=NOW + timedelta(seconds=21))
    with database.read() as session:
        assert quiet_studies(session, quiet_seconds=10, now=NOW + timedelta(seconds=21)) == (1, 2)


def test_an_association_kept_open_without_images_holds_nothing_for_long(database: Database) -> None:
    association_id = _associate(database)
    _register(database, _instance(1), association_id=association_id)
    later = NOW + associations.HOLD + timedelta(seconds=1)
    with database.write() as session:
        processes.beat(session, "gateway-1", now=later)
    with database.read() as session:
        assert quiet_studies(session, quiet_seconds=10, now=NOW + timedelta(seconds=20)) == ()
        assert quiet_studies(session, quiet_seconds=10, now=later) == (1,)


def test_a_study_that_goes_quiet_opens_one_job(database: Database) -> None:
    _register(database, _instance())
    assert _close(database, now=NOW + timedelta(seconds=9)) is None
    job_id = _close(database, now=NOW + timedelta(seconds=11))
    assert job_id is not None
    assert _close(database, now=NOW + timedelta(seconds=30)) is None
    assert [tag for tag in _tags(database) if tag != "routes:in-force"][-3:] == [
        "study:closed",
        "study:routed",
        "job:opened",
    ]


def test_an_open_association_holds_its_study_open(database: Database) -> None:
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
        association_id = associations.opened(
            session, process_id="gateway-1", calling_aet="SENDER", called_aet="US", remote_address="10.0.0.1", now=NOW
        )
    _register(database, _instance(), association_id=association_id)
    later = NOW + timedelta(seconds=11)
    assert _close(database, now=later) is None
    with database.write() as session:
        associations.closed(session, association_id, how="released", now=later)
    assert _close(database, now=later) is not None


def test_an_association_of_a_dead_gateway_holds_nothing_open(database: Database) -> None:
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
        association_id = associations.opened(
            session, process_id="gateway-1", calling_aet="SENDER", called_aet="US", remote_address="10.0.0.1", now=NOW
        )
    _register(database, _instance(), association_id=association_id)
    assert _close(database, now=NOW + timedelta(minutes=5)) is not None


def test_a_late_image_opens_the_next_revision_and_sets_the_queued_job_aside(database: Database) -> None:
    _register(database, _instance(1))
    first = _close(database, now=NOW + timedelta(seconds=11))
    _register(database, _instance(2), now=NOW + timedelta(seconds=20))
    second = _close(database, now=NOW + timedelta(seconds=31))
    assert first is not None
    assert second is not None
    with database.read() as session:
        assert job_lists.find(session, first).state is JobState.SUPERSEDED
        assert (job_lists.find(session, second).state, job_lists.find(session, second).revision) == (JobState.QUEUED, 2)
        assert len(studies.instances_of(session, 1)) == 2
    assert {"study:reopened", "job:superseded"} <= set(_tags(database))


def test_a_duplicate_does_not_reopen_a_closed_study(database: Database) -> None:
    _register(database, _instance())
    _close(database, now=NOW + timedelta(seconds=11))
    _register(database, _instance(), now=NOW + timedelta(seconds=20))
    assert "study:reopened" not in _tags(database)


def test_an_image_between_two_looks_keeps_the_study_open(database: Database) -> None:
    _register(database, _instance(1))
    later = NOW + timedelta(seconds=11)
    with database.read() as session:
        (study_id,) = quiet_studies(session, quiet_seconds=10, now=later)
    _register(database, _instance(2), now=later)
    with database.write() as session:
        assert close_as_head(session, study_id, quiet_seconds=10, now=later) is None
