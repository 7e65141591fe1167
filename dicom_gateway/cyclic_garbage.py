"""What Python's collector of cyclic garbage looks at in a process that runs for months."""

from __future__ import annotations

import gc


def exempt_what_is_there() -> None:
    """Have the collector pass over every object that exists by now: modules, classes and tables that stay.

    A process has half a million of them when it is ready to work. To look through them takes a tenth of a second, in
    which no thread of it moves, and receiving many images has that done again and again.
    """
    gc.collect()
    gc.freeze()
