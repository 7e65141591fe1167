"""The kinds of studies that a history is made of: which route analysed them, with which model, and how that ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from storage.domain import Priority
from storage.routes.file import Routes, parse_routes

PERIOD_DAYS = 730


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of study, and its share of all. ``priority`` None: no result; ``present``: whether it shows a lesion.

    ``read`` says that somebody marked the result as read. ``weights`` are hex digits, repeated to a digest; ``since``
    and ``until`` are parts of the period, for weights that were replaced.
    """

    name: str
    share: float
    modality: str
    body_part: str
    sender: str
    model: str = ""
    weights: str = ""
    priority: Priority | None = None
    present: bool = False
    failure: str | None = None
    delivered: bool = True
    read: bool = False
    since: float = 0.0
    until: float = 1.0


ROUTES: Routes = parse_routes(
    b"""version = 1
[[route]]
name = "head-mr"
analyser = "zero-shot"
match = {modality = ["MR"], body_part = ["head"]}
[[route]]
name = "abdomen-ct"
analyser = "zero-shot"
match = {modality = ["CT"], body_part = ["abdomen"]}
[[route]]
name = "chest-ct"
analyser = "zero-shot"
match = {modality = ["CT"], body_part = ["chest"]}
""",
    name="routes.toml",
)

_MR, _CT, _CHEST = ("MR", "HEAD", "MR_WARD"), ("CT", "ABDOMEN", "CT_EMERGENCY"), ("CT", "CHEST", "CT_WARD")
_OLD, _NEW, _LIVER, _LUNG = ("diffusion", "1a"), ("diffusion", "2b"), ("liver-lesions", "3c"), ("lung-nodules", "4d")

_UNREAD = 0.1
_UNMARKED: tuple[Kind, ...] = (
    Kind("head, lesion, first weights", 0.20, *_MR, *_OLD, priority=Priority.HIGH, present=True, until=0.5),
    Kind("head, clear, first weights", 0.20, *_MR, *_OLD, priority=Priority.LOW, until=0.5),
    Kind("head, lesion", 0.20, *_MR, *_NEW, priority=Priority.HIGH, present=True, since=0.5),
    Kind("head, clear", 0.20, *_MR, *_NEW, priority=Priority.LOW, since=0.5),
    Kind("abdomen, lesion", 0.10, *_CT, *_LIVER, priority=Priority.ROUTINE, present=True),
    Kind("abdomen, clear", 0.15, *_CT, *_LIVER, priority=Priority.LOW),
    Kind("chest, lesion", 0.10, *_CHEST, *_LUNG, priority=Priority.HIGH, present=True, delivered=False),
    Kind("chest, clear", 0.15, *_CHEST, *_LUNG, priority=Priority.LOW, delivered=False),
    Kind("failed", 0.01, *_MR, failure="no_usable_series"),
    Kind("wanted by no route", 0.03, "US", "HEART", "US_WARD"),
)


def all_kinds() -> Iterator[Kind]:
    """Return every kind; of those with a result one tenth stays unread."""
    for kind in _UNMARKED:
        if kind.priority is None:
            yield kind
        else:
            yield replace(kind, share=kind.share * _UNREAD)
            yield replace(kind, name=f"{kind.name}, read", share=kind.share * (1 - _UNREAD), read=True)
