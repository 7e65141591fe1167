"""The doctor says whether the syslog server answers, and how far behind it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import audit, audit_forwards
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.certificates import Authority
from tests.support.commands import Ran, oncue
from tests.support.peers import free_port
from tests.support.proving import seal
from tests.support.syslog_receiver import syslog_receiver


def examined(place: Place) -> Ran:
    return oncue("doctor", "--state", place.state, "--json", "--only", "syslog")


def fall_behind(place: Place, server: str) -> None:
    """Have two events sealed that a server lacks."""
    with place.database.write() as session:
        audit_forwards.begin(session, server, now=utc_now())
        for number in range(2):
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=utc_now())
    seal(place.database)


def test_nothing_is_said_where_no_server_is_set(place: Place) -> None:
    assert examined(place).json == []


def test_a_server_that_answers_is_fine_and_its_backlog_is_counted(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with syslog_receiver(identity=authority.issue("localhost", address="127.0.0.1")) as receiver:
        monkeypatch.setenv("ONCUE_AUDIT_SYSLOG", f"tls://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("ONCUE_AUDIT_SYSLOG_CA", str(authority.certificate))
        fall_behind(place, f"tls://127.0.0.1:{receiver.port}")
        behind, answer = examined(place).json
    assert (behind["verdict"], answer["verdict"]) == ("fine", "fine")
    assert behind["detail"].startswith("2 sealed events wait")
    assert "answered in" in answer["detail"]


def test_a_server_that_does_not_answer_is_broken_and_the_failures_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = f"tcp://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ONCUE_AUDIT_SYSLOG", server)
    fall_behind(place, server)
    with place.database.write() as session:
        audit_forwards.take(session, server, owner="test", now=utc_now())
        audit_forwards.postpone(
            session, server, owner="test", code="syslog_unreachable", reason="nobody", now=utc_now()
        )
    ran = examined(place)
    behind, answer = ran.json
    assert ran.code == 1
    assert behind["verdict"] == "remark"
    assert "1 attempts failed: [syslog_unreachable] nobody" in behind["detail"]
    assert answer["verdict"] == "broken"
    assert "[syslog_unreachable]" in answer["detail"]


def test_a_server_whose_certificate_is_not_trusted_is_broken(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Authority(tmp_path).issue("localhost", address="127.0.0.1")
    with syslog_receiver(identity=identity) as receiver:
        monkeypatch.setenv("ONCUE_AUDIT_SYSLOG", f"tls://127.0.0.1:{receiver.port}")
        _, answer = examined(place).json
    assert (answer["verdict"], "[syslog_untrusted]" in answer["detail"]) == ("broken", True)


def test_udp_is_a_remark_for_nobody_notices_what_gets_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_AUDIT_SYSLOG", "udp://127.0.0.1:514")
    _, answer = examined(place).json
    assert (answer["verdict"], "use tls://" in answer["detail"]) == ("remark", True)
