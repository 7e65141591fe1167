"""What a service answers to STOW-RS: what became of each instance (PS3.18 10.5.3, I.2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_gateway.errors import PeerAnswerInvalid

_FAILED, _REFERENCED, _OTHER_FAILURES = "00081198", "00081199", "0008119A"
_SOP_INSTANCE, _WARNING_REASON, _FAILURE_REASON = "00081155", "00081196", "00081197"
_MOST_STATUS = 0xFFFF


@dataclass(frozen=True, slots=True)
class StowAnswer:
    """What the answer says: of the stored instances the warning reason, 0 for none, and why others failed.

    ``other_failures`` are the reasons of failures whose instance it does not name.
    """

    stored: Mapping[str, int]
    failed: Mapping[str, int]
    other_failures: tuple[int, ...] = ()


def read_answer(body: bytes) -> StowAnswer:
    """Read the Store Instances Response Module in the DICOM JSON Model; PeerAnswerInvalid where it is none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise PeerAnswerInvalid("the answer is not JSON") from None
    if isinstance(said, list) and len(said) == 1:
        said = said[0]  # as services answer that write every data set as a result of a query
    if not isinstance(said, dict):
        raise PeerAnswerInvalid("the answer is not in the DICOM JSON Model")
    found = StowAnswer(
        stored={_uid(item): _reason(item, _WARNING_REASON, 0) for item in _items(said, _REFERENCED)},
        failed={_uid(item): _reason(item, _FAILURE_REASON, None) for item in _items(said, _FAILED)},
        other_failures=tuple(_reason(item, _FAILURE_REASON, None) for item in _items(said, _OTHER_FAILURES)),
    )
    if not (found.stored or found.failed or found.other_failures):
        raise PeerAnswerInvalid("the answer names no instance")
    return found


def _items(data_set: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a sequence; one that is absent or empty has none."""
    for item in _values(data_set, tag):
        if not isinstance(item, dict):
            raise PeerAnswerInvalid("the answer is not in the DICOM JSON Model")
        yield item


def _values(data_set: Mapping[str, Any], tag: str) -> list[Any]:
    attribute = data_set.get(tag, {})
    values = attribute.get("Value", []) if isinstance(attribute, dict) else None
    if not isinstance(values, list):
        raise PeerAnswerInvalid("the answer is not in the DICOM JSON Model")
    return values


def _uid(item: Mapping[str, Any]) -> str:
    values = _values(item, _SOP_INSTANCE)
    return str(values[0]) if values else ""


def _reason(item: Mapping[str, Any], tag: str, absent: int | None) -> int:
    values = _values(item, tag)
    if not values and absent is not None:
        return absent
    if len(values) != 1 or type(values[0]) is not int or not 0 <= values[0] <= _MOST_STATUS:
        raise PeerAnswerInvalid("the answer gives no reason that is a status")
    return values[0]
