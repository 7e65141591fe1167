"""A gateway as a process to be killed: ``python -m tests.support.gateway_process STATE [before-commit]``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from dicom_gateway.receiving.batch_commit import BatchCommit
from storage import migrate
from storage.database import connect
from storage.objects import ObjectStore


def main(state: Path, moment: str) -> None:
    """Run until killed; prints the port when it can receive."""
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    migrate.upgrade(database)
    if moment == "before-commit":
        BatchCommit.register = _die  # type: ignore[assignment,method-assign]  # it never returns
    gateway = Gateway(GatewaySettings(port=0, quiet_seconds=600), database, ObjectStore(state / "objects"))
    gateway.start()
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
