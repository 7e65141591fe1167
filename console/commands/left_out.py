"""Libraries that a process which stays has no use for, 4 to 9 MB of each: others load them where they find them.

What leaves them out comes before everything that may load them, so nothing here imports anything of ours.
"""

from __future__ import annotations

import sys

COLOURS = "rich"
"""For a log on a terminal; ours is JSON."""
DOWNLOADS = "requests"
"""For the test files of pydicom."""
CODEC = "gdcm"
"""Where no pixels are decoded."""


def leave_out(*names: str) -> None:
    """Have every later import of these packages fail in this process, as if they were not installed."""
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None is how Python marks a module as missing
