from __future__ import annotations

from datetime import timedelta

import pytest

from storage import kept_studies
from storage.database import Database
from storage.domain import Holding
from storage.objects import ObjectStore
from storage.retention.forecasts import Growth, growth
from storage.retention.obstacles import Obstacle
from storage.retention.plans import plan
from tests.support.retained import ARRIVED, EVERYTHING, MONTH_LATER, NO_ROUTE, Kept, rules_of

IMAGES = {"name": "images", "delete": ["images"], "older_than_days": 30}


@pytest.fixture
def kept(database: Database, objects: ObjectStore) -> Kept:
    return Kept(database, objects)


def test_a_plan_says_what_a_round_then_does(kept: Kept) -> None:
    for number in range(1, 4):
        kept.sent(number)
    kept.analysed(4)
    kept.study(5)
    with kept.database.write() as session:
        kept_studies.keep(session, 1, reason="", actor="cli:anna", now=ARRIVED)
    kept.run(now=ARRIVED)  # measures files, and is too early for anything else
    before = kept.files()
    with kept.database.read() as session:
        lines = plan(session, kept.objects, rules_of(EVERYTHING), now=MONTH_LATER)
    assert kept.files() == before
    images, results, pictures = lines
    assert [line.kind for line in lines] == list(Holding)
    assert [line.studies for line in lines] == [2, 2, 2]
    assert (images.files, images.size_bytes) == (4, 2 * 2 * kept.image(2).size_bytes)
    assert {one.obstacle: (one.studies, one.examples) for one in results.kept} == {
        Obstacle.KEPT: (1, (1,)),
        Obstacle.ON_THE_WAY: (1, (4,)),
    }
    assert pictures.size_bytes > 0
    done = kept.run()
    assert done.deleted.files == sum(line.files for line in lines)
    assert done.deleted.size_bytes == sum(line.size_bytes for line in lines)


def test_a_plan_may_stop_early_and_says_so(kept: Kept) -> None:
    for number in range(1, 4):
        kept.study(number, routes=NO_ROUTE)
    with kept.database.read() as session:
        (line,) = plan(session, kept.objects, rules_of(IMAGES), now=MONTH_LATER, most=2)
    assert (line.studies, line.is_cut_off) == (2, True)


def test_growth_is_what_came_and_went_in_a_day(kept: Kept) -> None:
    size = kept.image(1).size_bytes
    for number in range(1, 5):
        kept.study(number, images=1, routes=NO_ROUTE, now=ARRIVED + timedelta(days=number))
    with kept.database.read() as session:
        found = growth(session, now=ARRIVED + timedelta(days=5))
        assert (found.days, found.received, found.deleted) == (4.0, size, 0)
    kept.run({**IMAGES, "older_than_days": 2}, now=ARRIVED + timedelta(days=5))
    with kept.database.read() as session:
        found = growth(session, now=ARRIVED + timedelta(days=5))
    assert (found.received, found.deleted) == (size, 2 * size / 4)
    assert found.full_at(10 * size, now=ARRIVED) == ARRIVED + timedelta(days=20)


def test_a_store_that_does_not_grow_is_never_full() -> None:
    assert Growth(7, 10, 5, 15).full_at(1000, now=ARRIVED) is None
    assert Growth(7, 1, 0, 0).full_at(1e12, now=ARRIVED) is None
