from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import audit
from storage.database import Database
from storage.errors import IllegalTransition, OncueError
from storage.fewshot import adapters, items, promotions
from storage.fewshot.errors import ItemRefused, NotDeterministic
from storage.fewshot.items import Split
from storage.fewshot.promotions import Decision, Override, Promotion
from storage.fewshot.tasks import Task
from storage.fewshot.verdicts import Check
from tests.support.classification import FAILING, NOW, PASSING, THIN, judge, new_adapter, new_item, new_task


@pytest.fixture
def task(database: Database) -> Task:
    with database.write() as session:
        made = new_task(session)
        new = [new_item(made, f"S{n}", Split.SUPPORT, label=("plain", "striped")[n % 2]) for n in range(4)]
        new += [new_item(made, f"E{n}", Split.EVALUATION) for n in range(2)]
        items.add(session, made, new, actor="reader", now=NOW)
    return made


def _evaluated(database: Database, task: Task, *checks: Check, seed: int = 0) -> int:
    with database.write() as session:
        adapter = new_adapter(session, task, seed=seed)
        judge(session, task, adapter, *checks)
    return adapter.id


def _promote(database: Database, task: Task, adapter_id: int, *overrides: Override) -> Promotion:
    with database.write() as session:
        adapter = adapters.find(session, adapter_id)
        return promotions.promote(session, task, adapter, overrides=overrides, reason="trial", actor="head", now=NOW)


def _predicting(database: Database, task: Task) -> int | None:
    with database.read() as session:
        adapter = promotions.promoted_adapter(session, task)
    return adapter.id if adapter else None


def test_an_adapter_that_passes_the_gate_predicts_from_then_on(database: Database, task: Task) -> None:
    number = _evaluated(database, task, PASSING)
    assert _predicting(database, task) is None
    assert _promote(database, task, number).decision is Decision.PROMOTED
    assert _predicting(database, task) == number


def test_too_little_data_blocks_until_somebody_overrides_it_with_a_reason(database: Database, task: Task) -> None:
    number = _evaluated(database, task, PASSING, THIN)
    refused = _promote(database, task, number)
    assert (refused.decision, refused.reason) == (Decision.REFUSED, "stands in the way: subgroups:sex")
    assert _predicting(database, task) is None
    with pytest.raises(ItemRefused, match="needs a reason"):
        _promote(database, task, number, Override(THIN.name, " "))
    given = _promote(database, task, number, Override(THIN.name, "men are read twice until there are ten"))
    assert given.decision is Decision.PROMOTED
    assert given.overrides[0].reason == "men are read twice until there are ten"
    assert _predicting(database, task) == number


def test_a_failed_check_cannot_be_overridden(database: Database, task: Task) -> None:
    number = _evaluated(database, task, PASSING, FAILING)
    with pytest.raises(ItemRefused, match="cannot be overridden"):
        _promote(database, task, number, Override(FAILING.name, "we like it"))
    assert _promote(database, task, number).decision is Decision.REFUSED


def test_rolling_back_goes_one_promotion_back_each_time_and_history_keeps_all(database: Database, task: Task) -> None:
    first, second, third = (_evaluated(database, task, PASSING, seed=seed) for seed in range(3))
    for number in (first, second, third):
        _promote(database, task, number)

    def roll_back() -> int:
        with database.write() as session:
            return promotions.roll_back(session, task, reason="complaints", actor="head", now=NOW).adapter_id

    assert [roll_back(), roll_back()] == [second, first]
    assert _predicting(database, task) == first
    with pytest.raises(IllegalTransition, match="no earlier adapter"):
        roll_back()
    with database.read() as session:
        decisions = [(entry.decision.value, entry.adapter_id) for entry in promotions.history(session, task)]
        tags = [event.tag for event in audit.history(session, subject=f"task/{task.name}")]
    assert decisions == [
        ("promoted", first),
        ("promoted", second),
        ("promoted", third),
        ("rolled-back", second),
        ("rolled-back", first),
    ]
    assert tags[-2:] == ["adapter:rolled-back", "adapter:rolled-back"]
    _promote(database, task, third)
    assert roll_back() == first


def test_an_adapter_that_was_not_evaluated_or_on_other_items_is_not_promoted(database: Database, task: Task) -> None:
    with database.write() as session:
        bare = new_adapter(session, task, seed=7)
    with pytest.raises(IllegalTransition, match="never evaluated"):
        _promote(database, task, bare.id)
    number = _evaluated(database, task, PASSING)
    with database.write() as session:
        items.add(session, task, [new_item(task, "E9", Split.EVALUATION)], actor="reader", now=NOW)
    with pytest.raises(IllegalTransition, match="have changed"):
        _promote(database, task, number)


def test_the_same_snapshot_and_seed_is_the_same_adapter_and_other_bytes_are_refused(
    database: Database, task: Task
) -> None:
    with database.write() as session:
        one, same = new_adapter(session, task), new_adapter(session, task)
        other = new_adapter(session, task, seed=1)
    assert one == same
    assert (one.version, other.version) == (1, 2)
    with pytest.raises(NotDeterministic), database.write() as session:
        new_adapter(session, task, artefact=b"something else")


def test_adapters_and_decisions_are_only_ever_added(database: Database, task: Task) -> None:
    _promote(database, task, _evaluated(database, task, PASSING))
    for statement in (
        "DELETE FROM classification_adapters",
        "DELETE FROM classification_checks",
        "UPDATE classification_evaluations SET verdict = 'PASS'",
        "UPDATE classification_promotions SET decision = 'refused'",
    ):
        with pytest.raises((OncueError, DBAPIError)), database.write() as session:
            session.execute(text(statement))
