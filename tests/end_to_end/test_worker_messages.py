"""What is no message of ours in the lists of a real Redis costs a log line, never the worker."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path

import pytest

from storage import processes
from storage.domain import Lane
from storage.states import JobState
from tests.support.pool import Floor, work_floor
from workers.queue.app import ANALYSE, make_app
from workers.queue.publisher import Publisher

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def _real_message(floor: Floor) -> bytes:
    """Return the bytes of a message that the relay would send."""
    publisher = Publisher(make_app(floor.place.workers))
    publisher.publish(1, Lane.BATCH)
    publisher.close()
    item = floor.redis().rpop("batch")
    assert isinstance(item, bytes)
    return item


def _with_arguments(item: bytes, *arguments: object) -> bytes:
    message = json.loads(item)
    message["body"] = base64.b64encode(json.dumps([arguments, {}, {}]).encode()).decode()
    return json.dumps(message).encode()


def _workers(floor: Floor) -> list[str]:
    with floor.database.read() as session:
        return [process.id for process in processes.running(session, kind="worker")]


def test_after_each_piece_of_junk_the_same_worker_does_the_next_job(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with work_floor(tmp_path) as floor:
        real = _real_message(floor)
        junk = {
            "garbage": b"\xff\x00 SECRET garbage",
            "pickle": pickle.dumps({"task": ANALYSE, "SECRET": 1}),
            "json": b'{"SECRET": [1, 2, 3]}',
            "other task": real.replace(ANALYSE.encode(), b"os.SECRET"),
            "text": _with_arguments(real, "SECRET"),
            "negative": _with_arguments(real, -1),
            "long": b"SECRET" * 350_000,
        }
        floor.start_relay()
        floor.start_worker()
        floor.wait_for_worker()
        (before,) = _workers(floor)
        for number, item in enumerate(junk.values()):
            floor.redis().lpush(list(Lane)[number % 3].value, item)
            floor.wait_for_state(floor.queue(study=f"{number}"), JobState.SUCCEEDED)
            assert _workers(floor) == [before]
        assert all(floor.redis().llen(lane.value) == 0 for lane in Lane)
    written = "".join(capfd.readouterr())
    assert written.count("message.dropped") == len(junk)
    assert "SECRET" not in written
    assert "Traceback" not in written
