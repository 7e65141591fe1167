"""The whole product under the application's role of a PostgreSQL database, which may change no event of the history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sqlalchemy import text

from phantom.study import write_phantom_study
from storage.database import connect
from storage.errors import SchemaMismatch
from storage.roles.rights import Role
from tests.support.database_roles import DatabaseWithRoles, fresh_database, with_roles
from tests.support.peers import storescu
from tests.support.storage_scp import scp
from tests.support.system import QUICK, System, oncue_up

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def roles(postgresql_server: str, postgresql_template: str) -> Iterator[DatabaseWithRoles]:
    with fresh_database(postgresql_server, postgresql_template) as url, with_roles(url) as made:
        yield made


def _sent(deliveries: list[dict[str, Any]]) -> bool:
    return len(deliveries) == 2 and all(one["state"] == "sent" for one in deliveries)


def test_everything_runs_under_a_login_that_may_change_no_event(tmp_path: Path, roles: DatabaseWithRoles) -> None:
    study = write_phantom_study(tmp_path / "study", seed=3, slices=8, size=64, lesion=True)
    variables = {**QUICK, "ONCUE_STORAGE_DATABASE_URL": roles.url_of(Role.APP)}
    with (
        scp((SegmentationStorage, Comprehensive3DSRStorage)) as (port, received),
        oncue_up(tmp_path / "state", destinations=[f"SCP@127.0.0.1:{port}"], variables=variables) as system,
    ):
        assert storescu("ONCUE", system.port, *sorted(study.series_folder.glob("*.dcm"))).returncode == 0
        system.wait_for("deliveries", "list", until=_sent)
        assert {item.SOPClassUID for item in received} == {SegmentationStorage, Comprehensive3DSRStorage}
        _check_that_nobody_else_is_connected(roles)
        _check_that_the_history_holds(system)
        _check_that_the_history_cannot_be_changed(roles)
        assert not [line for line in system.logs().splitlines() if "schema_mismatch" in line]


def _check_that_nobody_else_is_connected(roles: DatabaseWithRoles) -> None:
    query = text(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with roles.owner.read() as session:
        assert set(session.scalars(query)) == {f"{Role.APP.named(roles.prefix)}_login"}


def _check_that_the_history_holds(system: System) -> None:
    proved = system.ask("audit", "verify")
    assert (proved["problems"], proved["events"] > 10) == ([], True)
    tags = {event["tag"] for event in system.ask("audit", "list")}
    assert {"study:closed", "job:claimed", "job:succeeded", "delivery:sent"} <= tags


def _check_that_the_history_cannot_be_changed(roles: DatabaseWithRoles) -> None:
    database = connect(roles.url_of(Role.APP))
    for statement in ("UPDATE audit_events SET actor = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events"):
        with pytest.raises(SchemaMismatch, match="rights"), database.write() as session:
            session.execute(text(statement))
    database.dispose()
