"""The form of the messages that we send ourselves. Whoever can write to the broker can write anything else."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

LONGEST_BYTES = 64 * 1024
"""Ours have about one kilobyte."""
_LARGEST_NUMBER = 2**63 - 1


class MessageFault(StrEnum):
    """Why a message is dropped."""

    TOO_LONG = "too_long"
    NO_JSON = "no_json"
    NO_MESSAGE = "no_message"
    UNKNOWN_TASK = "unknown_task"
    NO_NUMBER = "no_number"


def fault_of(item: bytes, tasks: Collection[str]) -> MessageFault | None:
    """Say what is wrong with what lay in a Redis list; None where it is a message to one of our tasks.

    Only what we send passes: one task, one positive number, no callbacks, no times. Nothing in it is ever executed.
    """
    if len(item) > LONGEST_BYTES:
        return MessageFault.TOO_LONG
    try:
        envelope = json.loads(item.decode())
    except (ValueError, RecursionError):
        return MessageFault.NO_JSON
    try:
        if not _is_envelope(envelope):
            return MessageFault.NO_MESSAGE
        if envelope["headers"].get("task") not in tasks:
            return MessageFault.UNKNOWN_TASK
        return None if _is_one_number(json.loads(base64.b64decode(envelope["body"]))) else MessageFault.NO_NUMBER
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return MessageFault.NO_MESSAGE


def _is_envelope(envelope: Any) -> bool:
    """See that kombu and Celery can take it apart, and that it asks for no more than to be done now, once."""
    headers: Mapping[str, Any] = envelope["headers"]
    properties: Mapping[str, Any] = envelope["properties"]
    place: Mapping[str, Any] = properties["delivery_info"]
    words = (envelope["body"], headers["id"], properties["delivery_tag"], place["exchange"], place["routing_key"])
    return (
        all(isinstance(word, str) for word in words)
        and envelope.get("content-type") == "application/json"
        and envelope.get("content-encoding") == "utf-8"
        and properties.get("body_encoding") == "base64"
        and headers.get("retries") in (0, None)
        and headers.get("timelimit") in ([None, None], None)
        and not any(headers.get(name) for name in ("eta", "expires", "group", "stamps", "stamped_headers"))
    )


def _is_one_number(body: Any) -> bool:
    """See that a task's arguments are one positive number, with nothing to be called afterwards."""
    arguments, named, embedded = body
    if named or any((embedded or {}).values()) or len(arguments) != 1:
        return False
    number = arguments[0]
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _LARGEST_NUMBER
