"""A gateway as a process of its own: ``python -m tests.support.gateway_process STATE [before-commit|-] [SETTINGS]``.

It prints its port when it can receive. SETTINGS are gateway settings as a JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from dicom_gateway.receiving.batch_commit import BatchCommit
from storage import logs, migrate
from storage.database import connect
from storage.objects import ObjectStore


def main(state: Path, moment: str, settings: dict[str, Any]) -> None:
    """Run until killed; prints the port when it can receive."""
    logs.configure()
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    migrate.upgrade(database)
    if moment == "before-commit":
        BatchCommit.register = _die  # type: ignore[assignment,method-assign]  # it never returns
    chosen = GatewaySettings(**{"port": 0, "quiet_seconds": 600, **settings})
    gateway = Gateway(chosen, database, ObjectStore(state / "objects"))
    gateway.start()
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


def _die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2] if len(sys.argv) > 2 else "",
        json.loads(sys.argv[3]) if len(sys.argv) > 3 else {},
    )
