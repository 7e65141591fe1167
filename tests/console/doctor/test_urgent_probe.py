from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from storage.database import utc_now
from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.records import queued_study
from tests.support.urgent import analyse


def examined(place: Place) -> dict[str, Any]:
    parts: list[dict[str, Any]] = oncue("doctor", "--state", place.state, "--json", "--only", "urgent").json
    (part,) = parts
    return part


def urgent_study(place: Place, number: int, minutes: float, priority: Priority) -> None:
    at = utc_now() - timedelta(minutes=minutes)
    analyse(place.database, place.objects, queued_study(place.database, number).job_id, now=at, priority=priority)


def test_the_doctor_names_stat_studies_that_nobody_opens(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(place)["detail"] == "no study has waited for longer than 30 minutes"
    urgent_study(place, 1, 500, Priority.HIGH)
    urgent_study(place, 2, 20, Priority.STAT)
    part = examined(place)
    assert part["verdict"] == "fine"
    assert part["detail"].startswith("2 STAT and HIGH studies wait to be opened, no STAT one")
    urgent_study(place, 3, 45, Priority.STAT)
    part = examined(place)
    assert part["verdict"] == "remark"
    assert (
        part["detail"] == "1 STAT study unopened for longer than 30 minutes, one for 45 min; see `oncue triage pending`"
    )
    monkeypatch.setenv("ONCUE_CONSOLE_UNOPENED_MINUTES", "10")
    assert examined(place)["detail"].startswith("2 STAT studies unopened for longer than 10 minutes")
