"""A gateway tells its history to the syslog server that the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.history.forwarding import forwarding_thread
from console.history.log_key import seal_now
from console.installation import open_installation
from storage import audit
from storage.database import utc_now
from storage.errors import ConfigurationError
from tests.console.conftest import Place
from tests.support.certificates import Authority
from tests.support.syslog_receiver import syslog_receiver


@pytest.mark.slow
def test_what_is_recorded_is_told_to_the_server_of_the_settings(place: Place, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with syslog_receiver(identity=authority.issue("localhost", address="127.0.0.1")) as receiver:
        flags = {
            "audit": {
                "syslog": f"tls://127.0.0.1:{receiver.port}",
                "syslog_ca": authority.certificate,
                "origin": "hospital/oncue",
            }
        }
        installation = open_installation(place.state, flags=flags)
        with forwarding_thread(installation):
            with installation.database.write() as session:
                audit.record(session, "process:started", "process/gateway-1", actor="gateway-1", now=utc_now())
            seal_now(installation)
            text = receiver.next().text
        installation.database.dispose()
    assert 'AuditSourceID="hospital/oncue"' in text
    assert 'csd-code="110120"' in text


def test_a_certificate_that_is_not_there_keeps_the_gateway_from_starting(place: Place, tmp_path: Path) -> None:
    flags = {"audit": {"syslog": "tls://127.0.0.1", "syslog_ca": tmp_path / "gone.pem"}}
    installation = open_installation(place.state, flags=flags)
    with pytest.raises(ConfigurationError, match=r"gone\.pem cannot be used"), forwarding_thread(installation):
        pass
    installation.database.dispose()
