"""What is in force: promoted, tried, retired, and the file of the settings while none is promoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from storage import audit
from storage.database import Database
from storage.errors import IllegalTransition, OncueError, PolicyInvalid, RecordExists, RecordMissing
from storage.triage import policies
from storage.triage.policies import Change
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy, parse_policy
from storage.triage.tables import PolicyState, TriagePolicyRow
from tests.support.records import NOW

LIVE, SHADOW, CONFIGURED, RETIRED = PolicyState.LIVE, PolicyState.SHADOW, PolicyState.CONFIGURED, PolicyState.RETIRED
CHANGE = Change("Dr. Jones", "agreed in March", NOW)


def policy(name: str, rule: str = "else") -> Policy:
    return parse_policy(f'[default]\nname = "{rule}"\npriority = "ROUTINE"\n'.encode(), name=f"{name}.toml")


DAY, NIGHT = policy("day", "by day"), policy("night", "by night")


def states(database: Database) -> dict[str, PolicyState]:
    with database.read() as session:
        return {one.name: one.state for one in policies.listed(session)}


def in_force(database: Database, configured: Policy | None = None) -> tuple[str, tuple[str, ...]]:
    with database.read() as session:
        found = policies.in_force(session, configured)
    return found.live.name, tuple(one.name for one in found.shadows)


def events(database: Database, tag: str) -> list[dict[str, object]]:
    with database.read() as session:
        return [{**json.loads(one.details), "actor": one.actor} for one in audit.history(session, tag=tag)]


def promote(database: Database, chosen: Policy, *, keep_as_shadow: bool = False) -> None:
    with database.write() as session:
        policies.promote(session, chosen, CHANGE, keep_as_shadow=keep_as_shadow)


def test_with_none_promoted_the_settings_decide_and_that_is_on_record_once(database: Database) -> None:
    assert in_force(database) == ("shipped", ())
    for _ in range(2):
        policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    assert (in_force(database), states(database)) == (("day", ()), {"day": CONFIGURED})
    policies.put_on_record(database, NIGHT, actor="worker-1", now=NOW + timedelta(hours=1), starts=True)
    assert states(database) == {"day": RETIRED, "night": CONFIGURED}
    assert [one["name"] for one in events(database, "triage:configured")] == ["day", "night"]


def test_workers_with_different_files_write_no_events_without_end(database: Database) -> None:
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW, starts=True)
    policies.put_on_record(database, NIGHT, actor="worker-2", now=NOW, starts=True)
    for _ in range(3):
        policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
        policies.put_on_record(database, NIGHT, actor="worker-2", now=NOW)
    assert states(database) == {"day": CONFIGURED, "night": CONFIGURED}
    assert len(events(database, "triage:configured")) == 3


def test_a_promoted_policy_decides_and_the_former_one_is_retired(database: Database) -> None:
    promote(database, DAY)
    promote(database, NIGHT)
    policies.put_on_record(database, load_policy(), actor="worker-1", now=NOW)
    assert in_force(database, load_policy()) == ("night", ())
    assert states(database) == {"night": LIVE, "day": RETIRED}
    last = events(database, "triage:promoted")[-1]
    assert (last["actor"], last["reason"], last["former"]) == ("Dr. Jones", "agreed in March", DAY.sha256)
    (retired,) = events(database, "triage:retired")
    assert (retired["name"], retired["before"]) == ("day", "live")
    with pytest.raises(IllegalTransition, match="live already"):
        promote(database, NIGHT)
    assert len(events(database, "triage:promoted")) == 2


def test_the_former_one_may_be_tried_beside_and_promoted_again(database: Database) -> None:
    promote(database, DAY)
    promote(database, NIGHT, keep_as_shadow=True)
    assert in_force(database) == ("night", ("day",))
    promote(database, DAY)
    assert (in_force(database), states(database)) == (("day", ()), {"day": LIVE, "night": RETIRED})


def test_that_of_the_settings_may_be_tried_beside_the_first_one_that_is_promoted(database: Database) -> None:
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    promote(database, NIGHT, keep_as_shadow=True)
    assert in_force(database, DAY) == ("night", ("day",))
    assert "before" not in events(database, "triage:promoted")[0]  # nobody had put it in force
    with database.write() as session:
        policies.retire(session, NIGHT.sha256, CHANGE)
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    assert in_force(database, DAY) == ("day", ())  # it decides again, and is not tried beside itself


def test_that_of_the_settings_is_not_kept_under_the_name_of_another(database: Database) -> None:
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    with database.write() as session, pytest.raises(RecordExists, match="day is configured"):
        policies.promote(session, policy("day", "another rule"), CHANGE, keep_as_shadow=True)
    promote(database, policy("day", "another rule"))
    assert in_force(database, DAY) == ("day", ())


def test_a_shadow_decides_nothing_and_ends_by_retiring(database: Database) -> None:
    with database.write() as session:
        policies.try_beside(session, NIGHT, CHANGE)
    assert in_force(database, DAY) == ("day", ("night",))
    with database.write() as session:
        policies.retire(session, NIGHT.sha256, CHANGE)
    assert (in_force(database, DAY), states(database)) == (("day", ()), {"night": RETIRED})
    with database.write() as session, pytest.raises(IllegalTransition, match="nothing to retire"):
        policies.retire(session, NIGHT.sha256, CHANGE)


def test_retiring_the_live_one_gives_back_to_the_settings(database: Database) -> None:
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    promote(database, DAY)
    with database.write() as session:
        policies.retire(session, DAY.sha256, CHANGE)
    policies.put_on_record(database, DAY, actor="worker-1", now=NOW)
    assert (in_force(database), states(database)) == (("day", ()), {"day": CONFIGURED})


def test_a_name_in_use_means_one_policy(database: Database) -> None:
    other = policy("day", "another rule")
    promote(database, DAY)
    with database.write() as session, pytest.raises(RecordExists, match="--name"):
        policies.try_beside(session, other, CHANGE)
    with database.write() as session, pytest.raises(RecordExists, match="--name"):
        policies.promote(session, other, CHANGE, keep_as_shadow=True)
    promote(database, other)
    with database.read() as session:
        assert policies.find(session, "day").sha256 == other.sha256
        assert policies.find(session, DAY.sha256[:8]).state is RETIRED
        with pytest.raises(RecordMissing, match="oncue triage list"):
            policies.find(session, "evening")


def test_of_two_promotions_at_once_one_policy_decides_and_both_are_on_record(database: Database) -> None:
    rivals = [policy(f"rival-{number}", f"rule {number}") for number in range(6)]

    def act(one: Policy) -> Callable[[], None]:
        return lambda: promote(database, one)

    with ThreadPoolExecutor(len(rivals)) as pool:
        for future in [pool.submit(act(one)) for one in rivals]:
            future.result()
    found = list(states(database).values())
    assert (found.count(LIVE), found.count(RETIRED)) == (1, 5)
    promoted, retired = events(database, "triage:promoted"), events(database, "triage:retired")
    assert (len(promoted), len(retired)) == (6, 5)
    assert {one["policy"] for one in retired} == {one["former"] for one in promoted if "former" in one}
    assert in_force(database)[0] == promoted[-1]["name"]


def test_a_changed_text_on_record_does_not_decide(database: Database) -> None:
    promote(database, DAY)
    with database.write() as session:
        session.execute(update(TriagePolicyRow).values(content=NIGHT.content))
    with pytest.raises(PolicyInvalid, match="digest"):
        in_force(database)


def test_a_shadow_that_cannot_be_read_stops_nobody(database: Database) -> None:
    with database.write() as session:
        policies.try_beside(session, NIGHT, CHANGE)
        session.execute(update(TriagePolicyRow).values(content="[default]\nfrom = 'a later version'\n"))
    assert in_force(database, DAY) == ("day", ())


@pytest.mark.parametrize(("by", "reason"), [("", "why"), (" ", "why"), ("me", ""), ("me", "x" * 501), ("a\nb", "why")])
def test_nobody_changes_a_policy_without_a_name_and_a_reason(by: str, reason: str) -> None:
    with pytest.raises(PolicyInvalid):
        Change(by, reason, NOW)


def test_a_file_is_kept_to_the_byte(database: Database) -> None:
    content = '\ufeff[default]\r\nname = "Übliches"\r\npriority = "LOW"\r\n'.encode()
    promote(database, parse_policy(content, name="odd.toml"))
    with database.read() as session:
        kept = session.scalars(select(TriagePolicyRow.content)).one()
        assert kept.encode() == content
        assert policies.in_force(session).live.default_name == "Übliches"


def test_a_refused_change_leaves_nothing_behind(database: Database) -> None:
    promote(database, DAY)
    with pytest.raises(OncueError), database.write() as session:
        policies.promote(session, policy("day", "another"), CHANGE, keep_as_shadow=True)
    assert (states(database), len(events(database, "triage:promoted"))) == ({"day": LIVE}, 1)
