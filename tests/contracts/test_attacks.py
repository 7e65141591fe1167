from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.support.documents import DOCS


def test_every_attack_stands_in_the_documentation_and_the_other_way_round() -> None:
    named = set(re.findall(r"`(test_[a-z_0-9]+)`", (DOCS / "security.md").read_text()))
    files = (ROOT / "tests" / "attacks").glob("test_*.py")
    carried_out = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    assert named == carried_out
