"""Images sent one after another until something stops them, and which of them were acknowledged."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dicom_gateway.status import Status
from tests.support.senders import association, ct_image


@dataclass
class Stream:
    """Sends images one after another until one is not taken, and notes which ones were acknowledged.

    ``refusal`` is the status of the one that was not; None where there was no answer.
    """

    port: int
    first: int
    rows: int = 128
    study: str = "study"
    acknowledged: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    refusal: int | None = None

    def run(self, until_acknowledged: int, *, most: int = 10_000) -> None:
        """Send over one association; ``enough`` is set when so many are acknowledged."""
        with association(self.port) as opened:
            for number in range(self.first, self.first + most):
                image = ct_image(self.study, number, rows=self.rows)
                answer = opened.send_c_store(image) if opened.is_established else None
                if answer is None or answer.get("Status") != Status.SUCCESS:
                    self.refusal = None if answer is None else answer.get("Status")
                    return
                self.acknowledged.append(str(image.SOPInstanceUID))
                if len(self.acknowledged) >= until_acknowledged:
                    self.enough.set()
