"""What brings announcements to their channels, against a receiver that fails on purpose."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import structlog.testing

from dicom_gateway.announcing.announcement import Answer, Verdict
from dicom_gateway.announcing.announcer import Announcer
from storage import registering
from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.arrivals import Origin, StudyFacts
from storage.care_settings import CareSetting
from storage.database import Database
from storage.domain import Lane, Priority
from storage.objects import ObjectStore
from storage.triage.case import Case, Circumstances
from tests.support.announcing import add_channel, analyse, events, outbox, told
from tests.support.dicom import SeriesPlan, put, series
from tests.support.gateways import until
from tests.support.records import NOW, PATIENT, queued_study
from tests.support.routing import close_as_head
from tests.support.scripted_receiver import Got, ScriptedReceiver, terms

_ROOT = Path(__file__).resolve().parents[3]


class Site:
    """A database with one announcer, whose clock the test sets."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self.database = database
        self.objects = objects
        self.now = NOW
        self.receiver = ScriptedReceiver()
        self.announcer = self.another("gateway-1")

    def another(self, owner: str) -> Announcer:
        return Announcer(self.database, self.objects, terms(owner, self.clock), self.receiver)

    def clock(self) -> datetime:
        return self.now

    def urgent(self, *numbers: int, priority: Priority = Priority.STAT) -> None:
        for number in numbers:
            analyse(self.database, self.objects, queued_study(self.database, number).job_id, priority)

    def received(self, *, patient: str) -> None:
        """Have the one image of a study come, or come again as another patient's."""
        image = series(SeriesPlan(shape=(1, 4, 4)))[0]
        image.PatientID, image.PatientName, image.AccessionNumber = patient, f"Name^{patient}", f"A{patient}"
        with self.database.write() as session:
            facts, origin = StudyFacts(patient, f"A{patient}"), Origin("MODALITY", None)
            registering.register_instance(session, put(self.objects, image), facts, origin=origin, now=NOW)

    def send(self, *, after: timedelta = timedelta(0)) -> float | None:
        """Do one round and wait for what it began."""
        self.now += after
        wanted = self.announcer.send_due()
        self.announcer.join(30)
        return wanted

    def last(self) -> Got:
        return self.receiver.got[-1]


@pytest.fixture
def site(database: Database, objects: ObjectStore) -> Iterator[Site]:
    made = Site(database, objects)
    yield made
    made.announcer.close()


def test_a_study_is_announced_with_what_was_found_and_without_its_patient(site: Site) -> None:
    add_channel(site.database)
    site.urgent(1)
    site.send()
    (said,) = site.last().announcements
    assert (said.level, said.priority, said.previous) == (AnnouncementLevel.FIRST, Priority.STAT, None)
    assert (said.patient, said.accession_number) == (None, None)
    assert [finding.volume_ml for finding in said.findings] == [12.5]
    assert said.page == "https://oncue.example/studies/1"
    assert (said.route, said.modalities, said.algorithm) == ("head-mr", ("MR",), "diffusion 1.0")
    assert PATIENT not in repr(said)
    assert told(site.database) == [("first", "sent", "STAT", None)]


def test_where_the_patient_is_cared_for_is_said_as_the_policy_saw_it(site: Site) -> None:
    add_channel(site.database)
    emergency = Circumstances(Lane.STAT, setting=CareSetting.EMERGENCY)
    inputs = Case.of((), emergency, case_score=0.5, out_of_distribution=None).inputs()
    job = queued_study(site.database, 1).job_id
    analyse(site.database, site.objects, job, Priority.STAT, inputs=inputs)
    site.send()
    analyse(site.database, site.objects, job, Priority.HIGH, inputs='{"of": "another version"}')
    site.send()
    assert [got.announcements[0].setting for got in site.receiver.got] == [CareSetting.EMERGENCY, None]


def test_a_channel_that_may_know_is_told_whose_study_it_is(site: Site) -> None:
    add_channel(site.database, kind=ChannelKind.HL7, address="mllp://127.0.0.1:2575", patient_data=True)
    site.urgent(1)
    site.send()
    (said,) = site.last().announcements
    assert said.patient is not None
    assert (said.patient.patient_id, said.accession_number) == (PATIENT, "ACC1")


def test_a_change_says_what_the_receiver_was_told_before(site: Site) -> None:
    add_channel(site.database)
    site.urgent(1)
    site.send()
    analyse(site.database, site.objects, 1, Priority.ROUTINE, now=NOW)
    site.send()
    (said,) = site.last().announcements
    assert (said.level, said.priority, said.previous) == (AnnouncementLevel.CHANGE, Priority.ROUTINE, Priority.STAT)


def test_a_receiver_that_is_down_gets_everything_once_it_is_back(site: Site) -> None:
    add_channel(site.database)
    down = Answer(Verdict.FAILED, "peer_unreachable", "nobody listens there", reached=False)
    site.receiver.answers = [down] * 4
    site.urgent(1)
    pauses = [site.send(after=timedelta(minutes=3)) for _ in range(4)]
    assert len(site.receiver.got) == 4
    assert all(pause is None or pause >= 1 for pause in pauses)
    site.urgent(2)
    site.send(after=timedelta(minutes=3))
    assert len(site.last().announcements) == 2
    assert {one.state for one in outbox(site.database)} == {"sent"}
    assert events(site.database, "failed") == 1


def test_a_repeat_is_the_same_message(site: Site) -> None:
    add_channel(site.database)
    site.receiver.answers = [Answer(Verdict.FAILED, "http_503", "busy")]
    site.urgent(1, 2)
    site.send()
    site.send(after=timedelta(seconds=5))
    first, second = site.receiver.got
    assert (first.group_key, first.announcements) == (second.group_key, second.announcements)


def test_a_receiver_that_asks_to_be_left_alone_is(site: Site) -> None:
    add_channel(site.database)
    site.receiver.answers = [Answer(Verdict.FAILED, "http_429", "busy", retry_after=120.0)]
    site.urgent(1)
    site.send()
    site.send(after=timedelta(seconds=119))
    assert len(site.receiver.got) == 1
    site.send(after=timedelta(seconds=1))
    assert len(site.receiver.got) == 2


def test_what_is_refused_is_not_sent_again(site: Site) -> None:
    add_channel(site.database)
    site.receiver.answers = [Answer(Verdict.REFUSED, "http_403", "not you")]
    site.urgent(1)
    site.send()
    site.send(after=timedelta(days=1))
    assert len(site.receiver.got) == 1
    (one,) = outbox(site.database)
    assert (one.state, one.code, one.reason) == ("refused", "http_403", "not you")


def test_a_sender_that_breaks_is_a_failure_like_any_other(site: Site) -> None:
    add_channel(site.database)
    site.receiver.answers = [ZeroDivisionError("of a library")]
    site.urgent(1)
    site.send()
    (one,) = outbox(site.database)
    assert (one.state, one.code, one.reason) == ("pending", "unexpected_error", "ZeroDivisionError")
    site.send(after=timedelta(seconds=5))
    assert told(site.database) == [("first", "sent", "STAT", None)]


def test_a_sender_that_breaks_each_time_says_so_once_and_names_nobody(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    add_channel(site.database)
    site.receiver.answers = [ValueError("input_value=Name^P1")] * 3
    site.urgent(1)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            site.send(after=timedelta(minutes=5))
    assert len(site.receiver.got) == 3
    (line,) = [log for log in logs if log["log_level"] != "info"]
    assert (line["event"], line["code"], line["error"]) == ("announcement.failed", "unexpected_error", "ValueError")
    assert "scripted_receiver.py:" in line["place"]
    assert "Name^P1" not in repr(logs) + capsys.readouterr().err


@pytest.mark.parametrize("reached", [False, True])
def test_a_clock_that_was_set_back_keeps_nothing_from_its_receiver(site: Site, *, reached: bool) -> None:
    add_channel(site.database)
    site.receiver.answers = [Answer(Verdict.FAILED, "http_503", "busy", reached=reached)]
    site.now += timedelta(days=1)
    site.urgent(1)
    site.send()
    site.send(after=timedelta(days=-1))
    assert told(site.database) == [("first", "sent", "STAT", None)]


def test_a_receiver_whose_answers_keep_changing_does_not_fill_the_history(site: Site) -> None:
    add_channel(site.database)
    site.receiver.answers = [Answer(Verdict.FAILED, f"http_{500 + at}", "busy") for at in range(40)]
    site.urgent(1)
    for _ in range(40):
        site.send(after=timedelta(minutes=5))
    assert (len(site.receiver.got), events(site.database, "failed")) == (40, 20)
    site.send(after=timedelta(minutes=5))
    assert told(site.database) == [("first", "sent", "STAT", None)]


def test_a_secret_that_cannot_be_read_keeps_announcements_until_it_can(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    add_channel(site.database, credentials=str(secret))
    site.urgent(1)
    site.send()
    (one,) = outbox(site.database)
    assert (one.state, one.code, site.receiver.got) == ("pending", "file_unusable", [])
    secret.write_text(f"{tmp_path.name}\n")
    site.send(after=timedelta(minutes=3))
    assert site.last().channel.secret == tmp_path.name


def test_a_receiver_that_hangs_holds_up_no_other_channel(site: Site) -> None:
    add_channel(site.database, "slow")
    add_channel(site.database, "quick")
    release = site.receiver.hold["slow"] = threading.Event()
    site.urgent(1)
    site.announcer.send_due()
    until(lambda: told(site.database, "quick") == [("first", "sent", "STAT", None)], "the other channel was told")
    until(lambda: told(site.database, "slow") == [("first", "sending", "STAT", None)], "the slow one is being told")
    release.set()
    site.announcer.join(30)
    assert told(site.database, "slow") == [("first", "sent", "STAT", None)]


def test_two_gateways_never_send_to_a_channel_at_once(site: Site) -> None:
    add_channel(site.database, kind=ChannelKind.HL7, address="mllp://127.0.0.1:2575", patient_data=True)
    site.urgent(*range(1, 9))
    both = [site.announcer, site.another("gateway-2")]

    def work(announcer: Announcer) -> None:
        while any(one.state != "sent" for one in outbox(site.database)):
            announcer.send_due()
            announcer.join(30)

    threads = [threading.Thread(target=work, args=(one,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert site.receiver.most_at_once == {"desk": 1}
    said = [one.key for got in site.receiver.got for one in got.announcements]
    assert sorted(said) == sorted({one.key for one in outbox(site.database)})


@pytest.mark.slow
def test_a_gateway_that_is_killed_before_it_hears_the_yes_sends_the_same_once_more(
    site: Site, database_url: str, tmp_path: Path
) -> None:
    add_channel(site.database)
    site.urgent(1, 2)
    file = tmp_path / "got"
    arguments = [database_url, str(site.objects.root), str(file)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.scripted_receiver", *arguments], cwd=_ROOT, check=False, timeout=120
    )
    assert ended.returncode == -9
    site.now = datetime.now(NOW.tzinfo)
    site.send()
    assert site.receiver.got == []  # the lease still runs
    site.send(after=timedelta(seconds=61))
    (again,) = site.receiver.got
    assert [again.group_key, *(one.key for one in again.announcements)] == file.read_text().split("\n")
    assert {one.state for one in outbox(site.database)} == {"sent"}


def test_a_study_that_nobody_opens_goes_to_the_next_channel_in_time(site: Site) -> None:
    add_channel(site.database, "first")
    add_channel(site.database, "chief", escalation_minutes=10)
    site.urgent(1)
    site.send()
    assert [got.channel.name for got in site.receiver.got] == ["first"]
    assert site.send() == pytest.approx(600, abs=1)
    site.send(after=timedelta(minutes=10))
    assert [got.channel.name for got in site.receiver.got] == ["first", "chief"]
    assert site.last().announcements[0].level is AnnouncementLevel.ESCALATION


def test_a_clock_that_was_set_back_puts_off_no_escalation(site: Site) -> None:
    add_channel(site.database, "chief", escalation_minutes=10)
    job = queued_study(site.database).job_id
    analyse(site.database, site.objects, job, Priority.STAT, now=NOW + timedelta(days=1))
    assert site.send() == pytest.approx(600, abs=1)
    site.send(after=timedelta(minutes=11))
    assert [got.channel.name for got in site.receiver.got] == ["chief"]


def test_a_closed_announcer_begins_nothing(site: Site) -> None:
    add_channel(site.database)
    site.urgent(1)
    site.announcer.close()
    assert site.send() is None
    assert site.receiver.got == []


def test_a_priority_is_taken_from_the_patient_whom_the_receiver_was_told_of(site: Site) -> None:
    add_channel(site.database, kind=ChannelKind.HL7, address="mllp://127.0.0.1:2575", patient_data=True)
    site.received(patient="P1")
    with site.database.write() as session:
        job = close_as_head(session, 1, quiet_seconds=0, now=NOW)
    assert job is not None
    analyse(site.database, site.objects, job, Priority.STAT)
    site.send()
    site.received(patient="P2")
    site.send()
    first, last = (got.announcements[0] for got in site.receiver.got)
    assert (last.priority, last.previous) == (None, Priority.STAT)
    assert first.patient is not None
    assert last.patient is not None
    assert (first.patient.name, last.patient.name) == ("Name^P1", "Name^P1")
    assert (first.accession_number, last.accession_number) == ("AP1", "AP1")


def test_the_patient_whom_the_receiver_knows_is_found_behind_any_number_of_corrections(site: Site) -> None:
    add_channel(site.database, kind=ChannelKind.HL7, address="mllp://127.0.0.1:2575", patient_data=True)
    site.received(patient="P1")
    with site.database.write() as session:
        job = close_as_head(session, 1, quiet_seconds=0, now=NOW)
    assert job is not None
    analyse(site.database, site.objects, job, Priority.STAT)
    site.send()
    for patient in ("P2", "P3", "P4", "P5"):
        site.received(patient=patient)
    site.send()
    (last,) = site.last().announcements
    assert last.priority is None
    assert last.patient is not None
    assert (last.patient.patient_id, last.accession_number) == ("P1", "AP1")
