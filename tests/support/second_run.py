"""Run the few tests that failed last once more, alone: does a fault show only beside other work?

Thousands of tests start servers, take ports and share two processors; one in some thousands fails for that alone. A
test that fails twice fails the run; one that passes alone is named, so that nobody takes the first failure for nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

_MOST = 3
"""More than so many at once are no accident."""
_LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """Return 0 where all of them pass now, else what a failed run returns."""
    failed = tuple(json.loads(_LAST_FAILED.read_text())) if _LAST_FAILED.exists() else ()
    failed = tuple(test for test in failed if Path(test.partition("::")[0]).exists())
    if not 0 < len(failed) <= _MOST:
        sys.stdout.write(f"{len(failed)} tests failed: not run again (that is done for 1 to {_MOST})\n")
        return 1
    code = int(pytest.main(["-v", "--durations=5", *failed]))
    if code == pytest.ExitCode.OK:
        sys.stdout.write("\n".join(["FAILED BESIDE OTHERS, PASSED ALONE, to be looked into:", *failed, ""]))
    return code


if __name__ == "__main__":
    sys.exit(main())
