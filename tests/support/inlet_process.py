"""An inlet as a process to be killed: ``python -m tests.support.inlet_process STATE FIRST``.

It takes one image after another and prints `taken UID` for each.
"""

from __future__ import annotations

import io
import itertools
import os
import sys
from pathlib import Path

from dicom_gateway.config import GatewaySettings
from dicom_gateway.inlets.inlet import Inlet
from storage.database import connect, utc_now
from storage.objects import ObjectStore
from tests.support.part10 import VISITOR, part10
from tests.support.senders import ct_image


def main(state: Path, first: int) -> None:
    """Run until killed."""
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    name = f"inlet-{os.getpid()}-{first}"
    inlet = Inlet(database, ObjectStore(state / "objects"), GatewaySettings(), process_id=name, clock=utc_now)
    inlet.start()
    with inlet.visit(VISITOR) as visit:
        for number in itertools.count(first):
            taken = visit.take(io.BytesIO(part10(ct_image(number=number, rows=128))))
            sys.stdout.write(f"taken {taken.sop_instance_uid}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
