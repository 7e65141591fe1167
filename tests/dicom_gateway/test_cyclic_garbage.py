from __future__ import annotations

import subprocess
import sys

_WHAT_STAYS_AND_WHAT_GOES = """
import gc, weakref
from dicom_gateway.cyclic_garbage import exempt_what_is_there

class Ring:
    def __init__(self):
        self.itself = self

before, stays = weakref.ref(Ring()), Ring()
exempt_what_is_there()
assert before() is None, "garbage from before is kept for good"
assert not any(found is stays for found in gc.get_objects()), "the collector still looks at what stays"
after = weakref.ref(Ring())
gc.collect()
assert after() is None, "later garbage is not collected any more"
"""


def test_the_collector_passes_over_what_stays_and_over_nothing_else() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WHAT_STAYS_AND_WHAT_GOES], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
