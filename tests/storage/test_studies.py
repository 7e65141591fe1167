"""Studies of the record."""

from __future__ import annotations

import pytest

from storage import studies
from storage.database import Database
from storage.errors import RecordMissing


def test_an_unknown_study_has_no_instances(database: Database) -> None:
    with database.read() as session, pytest.raises(RecordMissing):
        studies.instances_of(session, 99)
