"""What is put on record of associations, and when."""

from __future__ import annotations

import time

import pytest

from dicom_gateway.status import Status
from storage import audit
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.gateways import running_gateway, until
from tests.support.peers import echoscu
from tests.support.senders import (
    association,
    ct_image,
    echoes,
    store,
)

pytestmark = pytest.mark.slow


@pytest.mark.peer
def test_echoscu_is_answered(sqlite_database: Database, objects: ObjectStore) -> None:
    with running_gateway(sqlite_database, objects) as running:
        assert echoscu("ONCUE", running.port).returncode == 0
        assert echoscu("WRONG", running.port).returncode != 0


def test_associations_above_the_limit_are_rejected_for_now(sqlite_database: Database, objects: ObjectStore) -> None:
    with running_gateway(sqlite_database, objects, maximum_associations=1) as running:
        with association(running.port) as first, association(running.port) as second:
            assert first.is_established
            assert second.is_rejected
            assert second.acceptor.primitive is not None
            assert second.acceptor.primitive.result == 2
        until(lambda: running.events("association:closed") != [], "the end of the first association")
        until(lambda: running.events("association:refused") != [], "the refusal in the audit trail")
        assert '"code":"too_many_associations"' in running.events("association:refused")[0]


def test_associations_are_recorded_from_opening_to_end(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects) as running:
        store(running.port, ct_image())
        with association(running.port) as opened:
            opened.abort()
        until(lambda: len(running.events("association:closed")) == 2, "both ends in the audit chain")
        assert len(running.events("association:opened")) == 2
        assert sorted(running.events("association:closed")) == ['{"how":"aborted"}', '{"how":"released"}']


def test_associations_that_only_echo_are_counted_and_not_put_on_record_one_by_one(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects) as running:
        assert all(echoes(running.port) for _ in range(5))
        store(running.port, ct_image())
        until(lambda: running.events("association:closed") != [], "the end of the association with an image")
        assert len(running.events("association:opened")) == 1
    (counted,) = running.events("association:echoed")
    assert '"associations":5' in counted
    assert '"peers":1' in counted
    assert len(running.events("association:closed")) == 1


def test_an_echo_is_answered_within_a_second_while_the_database_is_locked(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects) as running, association(running.port) as earlier:
        with database.write():
            started = time.monotonic()
            assert echoes(running.port)
            assert earlier.send_c_echo().Status == Status.SUCCESS
            assert time.monotonic() - started < 1.0
        assert earlier.send_c_store(ct_image()).Status == Status.SUCCESS
        assert len(running.events("association:opened")) == 1


def test_an_association_is_on_record_before_its_first_instance(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects) as running, association(running.port) as opened:
        assert opened.send_c_echo().Status == Status.SUCCESS
        assert opened.send_c_store(ct_image()).Status == Status.SUCCESS
        assert running.gateway.drain(30)
        with database.read() as session:
            tags = [event.tag for event in audit.history(session)]
        assert tags.index("association:opened") < tags.index("instance:stored")
