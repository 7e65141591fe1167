"""The token that `oncue up` shows at its first start."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.system import System, oncue_up
from tests.support.tokens import bearer

pytestmark = pytest.mark.slow


def _asked(system: System, headers: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection(urlsplit(system.pages).netloc, timeout=30)
    connection.request("GET", "/api/studies", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_up_shows_a_token_at_its_first_start_and_never_again(tmp_path: Path) -> None:
    with oncue_up(tmp_path / "state", from_nothing=True) as system:
        assert system.process.stdout is not None
        line = system.process.stdout.readline()
        address, _, token = line.removeprefix("sign in at ").strip().partition(" with this token, ")
        secret = token.rpartition(" ")[2]
        assert address == f"{system.pages}/sign-in"
        assert [_asked(system, bearer(one)) for one in (secret, "oncue_x")] == [200, 401]
        passed_on = {"X-Forwarded-For": "127.0.0.1, 10.0.0.9"}
        assert [_asked(system, headers) for headers in ({}, passed_on)] == [200, 401]
        (listed,) = system.ask("console", "tokens")
        assert listed["made_by"].startswith("cli:")
        assert secret not in system.logs()
        assert system.stop() == 0
    with oncue_up(tmp_path / "state", from_nothing=True) as system:
        assert system.process.stdout is not None
        assert _asked(system, bearer(secret)) == 200
        assert system.stop() == 0
        assert system.process.stdout.read() == ""
