from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from dicom_gateway.receiving.hourly_usage import HourlyUsage
from storage.peer_usage import Usage, hour_of
from storage.peers import PeerEntry, Quotas

NOW = datetime(2026, 3, 1, 12, 59, tzinfo=UTC)
IMAGE = Usage(images=1, size_bytes=500_000)


def _entry(**quotas: int) -> PeerEntry:
    return PeerEntry("ct", "CT", quotas=Quotas(**quotas))


def test_a_quota_holds_until_the_next_hour_of_the_clock() -> None:
    usage, entry = HourlyUsage(), _entry(images=2)
    assert [usage.take(entry, IMAGE, now=NOW) for _ in range(3)] == [True, True, False]
    assert usage.take(entry, Usage(associations=1), now=NOW)
    assert usage.take(entry, IMAGE, now=NOW + timedelta(minutes=1))


def test_megabytes_are_counted_to_the_byte_and_what_is_refused_is_not() -> None:
    usage, entry = HourlyUsage(), _entry(megabytes=1)
    assert usage.take(entry, Usage(images=1, size_bytes=600_000), now=NOW)
    assert not usage.take(entry, Usage(images=1, size_bytes=400_001), now=NOW)
    assert usage.take(entry, Usage(images=1, size_bytes=400_000), now=NOW)


def test_what_other_gateways_used_counts_once_it_is_read() -> None:
    usage, entry = HourlyUsage(), _entry(associations=3)
    assert usage.take(entry, Usage(associations=1), now=NOW)
    added = usage.pending()
    # One more comes while the first is being added, with one of another gateway.
    assert usage.take(entry, Usage(associations=1), now=NOW)
    usage.recorded(added, {"ct": Usage(associations=2)}, hour=hour_of(NOW))
    assert not usage.take(entry, Usage(associations=1), now=NOW)
    assert usage.pending() == {(hour_of(NOW), "ct"): Usage(associations=1)}


def test_threads_together_take_no_more_than_the_quota() -> None:
    usage, entry = HourlyUsage(), _entry(images=100)
    taken: list[bool] = []

    def take() -> None:
        taken.extend(usage.take(entry, IMAGE, now=NOW) for _ in range(50))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(taken), len(taken)) == (100, 200)
