"""A gateway as a process of its own, with settings: ``python -m tests.support.configured_gateway STATE SETTINGS``.

SETTINGS are gateway settings as a JSON object. It prints its port when it can receive, and logs as in production.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from dicom_gateway.config import GatewaySettings
from dicom_gateway.gateway import Gateway
from storage import logs
from storage.database import connect
from storage.objects import ObjectStore


def main(state: Path, settings: GatewaySettings) -> None:
    """Run until killed."""
    logs.configure()
    file = state / "oncue.sqlite"
    database = connect(f"sqlite:///{file}")
    if not file.exists():
        from storage import migrate  # takes half a second, and every test brings a migrated database

        migrate.upgrade(database)
    gateway = Gateway(settings, database, ObjectStore(state / "objects"))
    gateway.start()
    sys.stdout.write(f"{gateway.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), GatewaySettings(**{"port": 0, "quiet_seconds": 600, **json.loads(sys.argv[2])}))
