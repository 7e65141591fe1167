from __future__ import annotations

from dicom_gateway.receiving.slots import Slot, SlotLimits, Slots

_LIMITS = SlotLimits(maximum=8, per_peer=4, per_address=6, reserved=2)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Places:
    """Slots with a clock of their own, and who was displaced."""

    def __init__(self, limits: SlotLimits = _LIMITS) -> None:
        self.clock = Clock()
        self.slots = Slots(limits, self.clock)
        self.displaced: list[str] = []

    def take(self, peer: str, address: str = "10.0.0.1") -> Slot | None:
        name = f"{peer}{len(self.displaced)}"
        return self.slots.take(peer, address, lambda: self.displaced.append(name.rstrip("0123456789")))

    def fill(self, peer: str, count: int, address: str = "10.0.0.1") -> list[Slot]:
        taken = [self.take(peer, address) for _ in range(count)]
        assert None not in taken
        return [slot for slot in taken if slot is not None]


def test_no_peer_holds_more_than_its_share_while_its_associations_work() -> None:
    places = Places()
    places.fill("CT", 4)
    assert places.take("CT") is None
    assert places.take("MR", "10.0.0.2") is not None


def test_no_address_holds_more_than_its_share_whatever_it_calls_itself() -> None:
    places = Places()
    places.fill("A", 3)
    places.fill("B", 3)
    assert places.take("C") is None
    assert places.take("C", "10.0.0.2") is not None


def test_the_last_places_are_for_peers_that_have_none() -> None:
    places = Places()
    places.fill("A", 4, "10.0.0.1")
    places.fill("B", 2, "10.0.0.2")
    assert places.take("B", "10.0.0.2") is None
    assert places.take("C", "10.0.0.3") is not None
    assert places.take("D", "10.0.0.4") is not None
    assert places.take("E", "10.0.0.5") is None


def test_the_longest_idle_one_of_the_same_peer_gives_way_after_a_grace() -> None:
    places = Places()
    oldest, *_ = places.fill("CT", 4)
    places.clock.now += 2.0
    assert places.take("CT") is None
    oldest.quiet_since -= 2.0
    assert places.take("CT") is not None
    assert places.displaced == ["CT"]


def test_the_greediest_peer_gives_way_first_and_nobody_to_a_greedier_one() -> None:
    places = Places(SlotLimits(maximum=6, per_peer=5, per_address=6, reserved=0))
    places.fill("GREEDY", 4)
    places.fill("MODEST", 2, "10.0.0.2")
    places.clock.now += 10.0
    assert places.take("NEW", "10.0.0.3") is not None
    assert places.displaced == ["GREEDY"]
    assert places.take("GREEDY") is not None
    assert places.displaced == ["GREEDY", "GREEDY"]


def test_one_whose_request_is_being_answered_does_not_give_way() -> None:
    places = Places(SlotLimits(maximum=1, per_peer=1, per_address=1, reserved=0))
    (busy,) = places.fill("CT", 1)
    busy.answering()
    places.clock.now += 1000.0
    assert places.take("MR", "10.0.0.2") is None
    assert places.displaced == []


def test_a_request_that_hardly_moves_gives_way_later_than_an_idle_association() -> None:
    places = Places(SlotLimits(maximum=1, per_peer=1, per_address=1, reserved=0))
    (slow,) = places.fill("CT", 1)
    slow.received(10)
    places.clock.now += 10.0
    assert places.take("MR", "10.0.0.2") is None
    places.clock.now += 15.0
    assert places.take("MR", "10.0.0.2") is not None


def test_a_place_that_is_given_back_can_be_taken() -> None:
    places = Places(SlotLimits(maximum=1, per_peer=1, per_address=1, reserved=0))
    (first,) = places.fill("CT", 1)
    assert places.take("MR") is None
    places.slots.free(first)
    assert places.take("MR") is not None
