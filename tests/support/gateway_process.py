"""A gateway as a process to be killed: ``python -m tests.support.gateway_process STATE [MOMENT]``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from dicom_gateway.receiving import journal_files
from dicom_gateway.receiving.ledger import Ledger
from dicom_gateway.receiving.spool import Spool
from storage import registering
from storage.database import connect
from storage.objects import ObjectStore


class Moment(StrEnum):
    """When the process kills itself: before a step on the way of an image, or right behind it."""

    BEFORE_DURABLE = "before-durable"
    BEFORE_ANSWER = "before-answer"
    BEFORE_NAME = "before-name"
    BEFORE_ROW = "before-row"
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    BEFORE_NAMES_DURABLE = "before-names-durable"
    BEFORE_BLANK = "before-blank"
    AFTER_BLANK = "after-blank"


def main(state: Path, moment: str) -> None:
    """Run on a migrated database until killed; prints the port when it can receive."""
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    if moment:
        _die_at(Moment(moment))
    gateway = Gateway(GatewaySettings(port=0, quiet_seconds=600), database, ObjectStore(state / "objects"))
    gateway.start()
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _die_at(moment: Moment) -> None:
    place, name, behind = {
        Moment.BEFORE_DURABLE: (Spool, "_write_last", False),
        Moment.BEFORE_ANSWER: (Ledger, "submit", False),
        Moment.BEFORE_NAME: (Ledger, "_link", False),
        Moment.BEFORE_ROW: (registering, "register_instances", False),
        Moment.BEFORE_COMMIT: (registering, "register_instances", True),
        Moment.AFTER_COMMIT: (Ledger, "_registered", False),
        Moment.BEFORE_NAMES_DURABLE: (ObjectStore, "sync_names", False),
        Moment.BEFORE_BLANK: (journal_files, "blank", False),
        Moment.AFTER_BLANK: (journal_files, "blank", True),
    }[moment]
    setattr(place, name, _fatal(getattr(place, name), behind=behind))


def _fatal(step: Callable[..., Any], *, behind: bool) -> Callable[..., Any]:
    """Return a step at which the process dies, before it or behind it; one that has nothing to do is let pass."""

    def die(*arguments: Any, **named: Any) -> Any:
        if any(argument == () for argument in (*arguments, *named.values())) or [] in arguments:
            return step(*arguments, **named)
        if behind:
            step(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    return die


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
