from __future__ import annotations

import pytest

from storage.character_sets import misleads


@pytest.mark.parametrize("term", ["rot13", "utf-16", "zlib", "idna", "punycode", "undefined", "cp037"])
def test_a_codec_that_changes_ascii_is_no_character_set(term: str) -> None:
    assert misleads(["ISO_IR 100", f"{term} "])


@pytest.mark.parametrize("term", ["", "ISO_IR 100", "ISO 2022 IR 87", "ISO_IR 999", "GB18030", "UTF-8", "x\0y"])
def test_sets_that_leave_ascii_alone_are_left_to_who_reads_them(term: str) -> None:
    assert not misleads([term])
