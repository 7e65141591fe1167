"""What a notice is about; apart from how it is built, for which a gateway loads much."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.domain import StoredInstance


@dataclass(frozen=True, slots=True)
class UnanalysedStudy:
    """What a notice is about: the images that were there, and why they were not analysed.

    ``code`` is that of the error tree, ``not_applicable`` or ``set_aside``; ``conditions`` are the lines in which
    routes say what they miss. ``stated_at`` is when that became so, and a part of the notice's identity.
    """

    instances: tuple[StoredInstance, ...]
    revision: int
    route: str
    code: str
    conditions: tuple[str, ...]
    stated_at: datetime

    @property
    def uids(self) -> frozenset[str]:
        """Every UID that a notice repeats of the images."""
        return frozenset(
            uid for one in self.instances for uid in (one.series_instance_uid, one.sop_instance_uid, one.sop_class_uid)
        )
