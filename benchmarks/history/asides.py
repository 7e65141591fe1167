"""Events beside the lives of studies: associations, processes, people who look, what is refused or goes wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from storage import audit
from storage.audit import AuditEvent, ConcernedStudy, Detail

PEOPLE = tuple(
    f"dr.{name}" for name in ("adler", "baum", "cole", "diaz", "egger", "faye", "gruber", "hahn", "ito", "jung")
)
SENDERS = tuple(
    f"{place}{number}" for place in ("MR_WARD", "CT_EMERGENCY", "CT_WARD", "US_WARD") for number in (1, 2, 3)
)
WORKERS = tuple(f"worker-{number}" for number in (1, 2, 3, 4))
_PROCESSES = ("gateway-1", "relay-1", "delivery")
RARE_WORD = "out_of_space"
"""Stands in about one of a hundred thousand asides."""
COMMON_WORD = "routine"
"""Stands in the details of every study that arrives."""
_RARE_SHARE = 1e-5


@dataclass(frozen=True, slots=True)
class Aside:
    """One kind of such events; ``study`` says that it concerns one, whose UID stands for «*» in ``subject``."""

    tag: str
    weight: float
    subject: str
    actors: Sequence[str]
    details: tuple[tuple[str, Detail], ...] = ()
    study: bool = False


ASIDES: tuple[Aside, ...] = (
    Aside("study:read", 30, "study/*", PEOPLE, study=True),
    Aside("picture:read", 20, "study/*", PEOPLE, (("pictures", 3),), study=True),
    Aside("export:made", 1, "study/*", PEOPLE, (("format", "json"),), study=True),
    Aside("object:requested", 1, "instance/*.9.1", PEOPLE, (("kind", "SR"),), study=True),
    Aside("audit:queried", 1, "audit", PEOPLE, (("by", "study"), ("events", 40))),
    Aside("association:opened", 12, "association/*", SENDERS, (("called", "ONCUE"), ("address", "10.0.0.7"))),
    Aside("association:closed", 12, "association/*", SENDERS, (("how", "released"),)),
    Aside("association:echoed", 3, "associations", ("gateway",), (("associations", 12), ("peers", 2))),
    Aside("association:refused", 0.3, "peer/UNKNOWN", SENDERS, (("code", "called_aet_unknown"),)),
    Aside("instance:refused", 0.5, "instance/*.1.7", SENDERS, (("code", "unreadable_instance"), ("status", "0xC000"))),
    Aside("process:started", 0.2, "process/gateway-1", _PROCESSES, (("kind", "gateway"),)),
    Aside("process:stopped", 0.2, "process/gateway-1", _PROCESSES),
    Aside("process:changed", 0.1, "process/worker-1", WORKERS, (("kind", "worker"),)),
    Aside("job:requeued", 1, "study/*", WORKERS, (("code", "worker_busy"),), study=True),
    Aside("job:lease-expired", 0.3, "study/*", ("relay",), (("attempt", 1),), study=True),
    Aside("job:retried", 0.2, "study/*", PEOPLE, study=True),
    Aside("study:reopened", 2, "study/*", SENDERS, (("revision", 2),), study=True),
    Aside("study:rerouted", 0.1, "study/*", PEOPLE, (("revision", 2),), study=True),
    Aside("delivery:postponed", 2, "instance/*.9.1", ("delivery",), (("code", "peer_unreachable"),), study=True),
    Aside("delivery:refused", 0.1, "instance/*.9.1", ("delivery",), (("status", "0xA700"),), study=True),
    Aside("report:postponed", 0.1, "study/*", ("delivery",), (("code", "object_missing"),), study=True),
    Aside("item:relabelled", 0.3, "task/brain", PEOPLE, (("label", "glioma"),)),
    Aside("items:added", 0.1, "task/brain", PEOPLE, (("items", 4),)),
    Aside("model:added", 0.01, "model/liver-lesions", PEOPLE, (("kind", "nnunet"),)),
    Aside("model:removed", 0.01, "model/liver-lesions", PEOPLE),
)
_WEIGHTS = [aside.weight for aside in ASIDES]


def write(count: int, studies: Sequence[ConcernedStudy], *, at: datetime, spread: timedelta) -> list[AuditEvent]:
    """Return so many events, in no order, around the arrival of some studies.

    They lie between ``at`` and ``spread`` later.
    """
    chosen = random.choices(ASIDES, _WEIGHTS, k=count)
    return [_event(aside, random.choice(studies), now=at + spread * random.random()) for aside in chosen]


def _event(aside: Aside, study: ConcernedStudy, *, now: datetime) -> AuditEvent:
    details = dict(aside.details)
    if random.random() < _RARE_SHARE:
        details["code"] = RARE_WORD
    return audit.event(
        aside.tag,
        aside.subject.replace("*", study.uid),
        actor=random.choice(aside.actors),
        now=now,
        details=details,
        study=study if aside.study else None,
    )
