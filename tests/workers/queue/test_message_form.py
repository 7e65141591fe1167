"""Which messages pass. The whole way of one that does not is in tests/end_to_end/test_worker_messages.py."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest

from workers.queue.app import ANALYSE, FIT
from workers.queue.message_form import LONGEST_BYTES, MessageFault, fault_of

_TASKS = (ANALYSE, FIT)


def _message(arguments: Any = None, *, named: Any = None, embedded: Any = None, **headers: Any) -> bytes:
    body = json.dumps([[1] if arguments is None else arguments, named or {}, embedded or {}]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": ANALYSE, "id": "one", "retries": 0, "timelimit": [None, None], **headers},
            "properties": {
                "delivery_tag": "two",
                "body_encoding": "base64",
                "delivery_info": {"exchange": "routine", "routing_key": "routine"},
            },
        }
    ).encode()


@pytest.mark.parametrize("task", _TASKS)
def test_a_number_for_a_task_of_ours_passes(task: str) -> None:
    assert fault_of(_message([7], task=task), _TASKS) is None


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (b"", MessageFault.NO_JSON),
        (b"\xff\xfe garbage", MessageFault.NO_JSON),
        (pickle.dumps({"task": ANALYSE}), MessageFault.NO_JSON),
        (b"[" * 60_000, MessageFault.NO_JSON),
        (b"x" * (LONGEST_BYTES + 1), MessageFault.TOO_LONG),
        (b"null", MessageFault.NO_MESSAGE),
        (b"[1, 2]", MessageFault.NO_MESSAGE),
        (b'{"headers": null, "properties": 4}', MessageFault.NO_MESSAGE),
        (_message().replace(b"application/json", b"application/x-python-serialize"), MessageFault.NO_MESSAGE),
        (_message(eta="yesterday"), MessageFault.NO_MESSAGE),
        (_message(retries="many"), MessageFault.NO_MESSAGE),
        (_message(task="os.system"), MessageFault.UNKNOWN_TASK),
        (_message(task=["list"]), MessageFault.UNKNOWN_TASK),
        (_message(["7"]), MessageFault.NO_NUMBER),
        (_message([-7]), MessageFault.NO_NUMBER),
        (_message([0]), MessageFault.NO_NUMBER),
        (_message([True]), MessageFault.NO_NUMBER),
        (_message([2**63]), MessageFault.NO_NUMBER),
        (_message([1, 2]), MessageFault.NO_NUMBER),
        (_message([]), MessageFault.NO_NUMBER),
        (_message(named={"job_id": 1}), MessageFault.NO_NUMBER),
        (_message(embedded={"callbacks": [{"task": FIT}]}), MessageFault.NO_NUMBER),
    ],
)
def test_anything_else_is_dropped_with_its_reason(item: bytes, fault: MessageFault) -> None:
    assert fault_of(item, _TASKS) is fault
