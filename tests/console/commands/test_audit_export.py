"""`oncue audit export` writes what the standards call it, and says on record that it did."""

from __future__ import annotations

import json

from storage import audit
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.audit_events import message_schema
from tests.support.commands import oncue


def test_events_are_exported_in_the_words_of_each_standard(anywhere: Place) -> None:
    with anywhere.database.write() as session:
        audit.record(session, "instance:stored", "instance/1.2.3", actor="CT1", now=utc_now(), details={"study": "1.2"})
    written = oncue("audit", "export", "--state", anywhere.state, "--since", "1h")
    assert written.code == 0
    lines = written.out.splitlines()
    assert lines
    for line in lines:
        message_schema().validate(line)
    told = [
        json.loads(line)
        for line in oncue("audit", "export", "--format", "fhir", "--state", anywhere.state).out.splitlines()
    ]
    assert {one["resourceType"] for one in told} == {"AuditEvent"}
    assert len(told) > len(lines)  # the first export is an event of its own
    assert oncue("audit", "export", "--state", anywhere.state, "--until", "yesterday-ish").code == 1
