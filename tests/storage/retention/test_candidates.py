from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert

from storage.database import Database
from storage.domain import Holding
from storage.models import StandingRow, StudyRow
from storage.retention.candidates import PAGE, Candidate, Target, is_candidate, old_enough, targets
from tests.support.retained import ARRIVED, MONTH_LATER, rules_of


@pytest.mark.parametrize("kind", list(Holding))
def test_studies_are_read_along_the_index_of_their_kind(database: Database, kind: Holding) -> None:
    target = _target(kind)
    seen: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
    behind = Candidate(ARRIVED, 1, 1, 1)
    with database.read() as session:
        assert [*old_enough(session, target, now=MONTH_LATER, behind=behind)] == []
        statement, parameters = next(each for each in seen if "FROM standings" in each[0])
        connection = session.connection()
        is_sqlite = connection.dialect.name == "sqlite"
        if not is_sqlite:
            # The table is empty here, and for an empty one no index pays.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_bitmapscan = off")
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        shown = " ".join(str(row) for row in connection.exec_driver_sql(explain + statement, parameters))
    assert f"ix_standings_keeps_{kind}" in shown
    assert ("TEMP B-TREE" if is_sqlite else "Sort") not in shown


def test_more_than_a_page_of_studies_come_in_their_order(database: Database) -> None:
    count = 2 * PAGE + 3
    _record(database, count)
    target = _target(Holding.IMAGES)
    with database.read() as session:
        found = [*old_enough(session, target, now=MONTH_LATER)]
        rest = [*old_enough(session, target, now=MONTH_LATER, behind=found[PAGE - 1])]
    assert len({one.study_id for one in found}) == count
    assert found == sorted(found)
    assert rest == found[PAGE:]


def test_a_study_that_changed_since_is_no_candidate(database: Database) -> None:
    _record(database, 1)
    target = _target(Holding.IMAGES)
    with database.write() as session:
        assert is_candidate(session, target, 1, now=MONTH_LATER)
        session.get_one(StandingRow, 1).state = "running"
        session.flush()
        assert not is_candidate(session, target, 1, now=MONTH_LATER)
        assert not is_candidate(session, target, 2, now=MONTH_LATER)


def _target(kind: Holding) -> Target:
    (target,) = targets(rules_of({"name": "one", "delete": [kind], "older_than_days": 30}))
    return target


def _record(database: Database, count: int) -> None:
    no = {"patient_id": "", "accession_number": "", "study_date": "", "study_description": ""}
    with database.write() as session:
        for number in range(1, count + 1):
            at = ARRIVED - timedelta(minutes=number % 7)
            study = {"id": number, "study_instance_uid": f"2.25.{number}", "revision": 1, "lane": "routine", **no}
            session.execute(insert(StudyRow), [{**study, "opened_at": at, "last_instance_at": at, "closed_at": at}])
            standing = {
                "study_id": number,
                "state": ("succeeded", "not_applicable")[number % 2],
                "rank": 4 if number % 2 else number % 4,
                "minus_confidence": 0.0,
                "arrived_at": at,
                "instances": 1,
                "image_bytes": 100,
            }
            flags = {"complete": True, "keeps_images": True, "keeps_results": False, "keeps_pictures": False}
            session.execute(
                insert(StandingRow), [{**standing, **flags, "analysed": False, "waiting": False, "unread": False}]
            )
