from __future__ import annotations

from collections import Counter
from itertools import pairwise

from storage.domain import Lane
from workers.queue.lane_order import WEIGHTS, LaneOrder

LANES = [lane.value for lane in Lane]


def _take(cycle: LaneOrder, waiting: Counter[str]) -> str:
    """Take one message as Redis would: from the first queue in the cycle's order that has one."""
    queue = next(name for name in cycle.consume(len(LANES)) if waiting[name])
    waiting[queue] -= 1
    cycle.rotate(queue)
    return queue


def test_full_lanes_are_served_by_their_weights() -> None:
    cycle = LaneOrder()
    cycle.update(LANES)
    waiting = Counter(dict.fromkeys(LANES, 1000))
    taken = Counter(_take(cycle, waiting) for _ in range(120))
    assert taken == {lane: 10 * weight for lane, weight in WEIGHTS.items()}


def test_no_lane_waits_longer_than_one_round_while_others_are_full() -> None:
    cycle = LaneOrder()
    cycle.update(LANES)
    waiting = Counter(dict.fromkeys(LANES, 1000))
    taken = [_take(cycle, waiting) for _ in range(60)]
    places = [index for index, lane in enumerate(taken) if lane == "batch"]
    assert max(later - earlier for earlier, later in pairwise(places)) <= sum(WEIGHTS.values())


def test_an_urgent_study_goes_first_after_a_long_night_of_batch_work() -> None:
    cycle = LaneOrder()
    cycle.update(LANES)
    waiting = Counter({"batch": 1000})
    for _ in range(500):
        _take(cycle, waiting)
    waiting["stat"] += 1
    assert _take(cycle, waiting) == "stat"


def test_a_lane_that_stood_empty_saves_up_one_round_at_most() -> None:
    cycle = LaneOrder()
    cycle.update(LANES)
    waiting = Counter({"stat": 2000})
    for _ in range(1000):
        _take(cycle, waiting)
    waiting.update({"batch": 1000, "routine": 1000})
    taken = Counter(_take(cycle, waiting) for _ in range(36))
    assert taken["stat"] >= 12


def test_each_poll_is_reported() -> None:
    polls: list[None] = []
    cycle = LaneOrder(on_poll=lambda: polls.append(None))
    cycle.update(LANES)
    cycle.consume(3)
    cycle.consume(3)
    assert len(polls) == 2


def test_queues_that_nobody_weighed_are_served_too() -> None:
    cycle = LaneOrder()
    cycle.update(["other"])
    assert cycle.consume(1) == ["other"]
    assert cycle.rotate("other") == "other"
    assert cycle.rotate("gone") == "gone"
