"""The doctor says of every certificate whether it holds, and of every TLS listener what it shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.console.conftest import Place
from tests.support.certificates import Authority, Issued
from tests.support.commands import oncue
from tests.support.gateways import running_gateway
from tests.support.peers import dcmtk_storescp, free_port

Set = Callable[..., None]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def gateway(authority: Authority) -> Issued:
    pair = authority.issue("gateway.example", address="127.0.0.1", days=100)
    pair.key.chmod(0o600)
    return pair


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, gateway: Issued) -> Set:
    """Return how to set the gateway's settings; its pair is set already."""

    def set_all(**settings: object) -> None:
        for name, value in settings.items():
            text = json.dumps(value) if isinstance(value, list) else str(value)
            monkeypatch.setenv(f"ONCUE_GATEWAY_{name.upper()}", text)

    set_all(tls_certificate=gateway.certificate, tls_key=gateway.key)
    return set_all


def examined(place: Place) -> list[Any]:
    found = oncue("doctor", "--state", place.state, "--json", "--only", "certificates").json
    return [(part["subject"], part["verdict"], part["detail"]) for part in found]


def test_nothing_is_said_where_tls_is_not_used(place: Place) -> None:
    assert oncue("doctor", "--state", place.state, "--json", "--only", "certificates").json == []


def test_certificates_that_hold_are_fine_and_their_end_is_named(
    place: Place, configure: Set, authority: Authority
) -> None:
    configure(tls_callers_ca=authority.certificate, tls_callers_crl=authority.revoke())
    own, trusted, revoked = examined(place)
    assert own[:2] == ("certificate", "fine")
    assert "gateway.example" in own[2]
    assert "99 days" in own[2]
    assert trusted[:2] == ("authority", "remark"), "that of the tests expires tomorrow"
    assert revoked[:2] == ("revocation list", "fine")


@pytest.mark.parametrize(("days", "verdict", "words"), [(20, "remark", "19 days"), (-1, "broken", "expired on")])
@pytest.mark.usefixtures("configure")
def test_a_certificate_that_runs_out_is_told_before_and_after(
    place: Place, authority: Authority, days: float, verdict: str, words: str
) -> None:
    authority.issue("gateway.example", address="127.0.0.1", days=days)
    ((_, found, detail),) = examined(place)
    assert found == verdict
    assert words in detail


def test_a_key_of_another_certificate_a_file_that_is_gone_and_an_old_list_are_faults(
    place: Place, configure: Set, authority: Authority, tmp_path: Path
) -> None:
    other = authority.issue("other.example")
    configure(tls_key=other.key, tls_callers_ca=tmp_path / "gone.pem", tls_callers_crl=authority.revoke(days=-1))
    other.key.chmod(0o600)
    own, gone, old = examined(place)
    assert [part[1] for part in (own, gone, old)] == ["broken"] * 3
    assert "is not the private key of" in own[2]
    assert "gone.pem cannot be read" in gone[2]
    assert "was to be renewed on" in old[2]


@pytest.mark.usefixtures("configure")
def test_a_private_key_that_others_can_read_is_remarked(place: Place, gateway: Issued) -> None:
    gateway.key.chmod(0o644)
    _, (subject, verdict, detail) = examined(place)
    assert (subject, verdict) == ("private key", "remark")
    assert "mode 0644" in detail


def test_a_listener_that_runs_shows_its_certificate_and_one_that_kept_an_old_one_is_a_fault(
    place: Place, configure: Set, authority: Authority, gateway: Issued
) -> None:
    listener = {"port": free_port()}
    configure(tls_callers_ca=authority.certificate, listeners=[listener])
    assert examined(place)[-1][:2] == ("TLS listener", "remark"), "not running yet"
    settings: dict[str, Any] = {
        "listeners": (listener,),
        "tls_certificate": gateway.certificate,
        "tls_key": gateway.key,
        "tls_callers_ca": authority.certificate,
    }
    # What the gateway logs would stand between the lines of the doctor, which runs in the same process here.
    with capture_logs(), running_gateway(place.database, place.objects, **settings):
        subject, verdict, detail = examined(place)[-1]
        assert (subject, verdict) == ("TLS listener", "fine")
        assert "TLSv1.3" in detail
        gateway.certificate.write_text("half a certif")
        assert examined(place)[0][1] == "broken"
        subject, verdict, detail = examined(place)[-1]
        assert (subject, verdict) == ("TLS listener", "broken")
        assert "shows another certificate" in detail


@pytest.mark.peer
@pytest.mark.slow
def test_destinations_are_asked_over_tls(place: Place, configure: Set, authority: Authority, tmp_path: Path) -> None:
    pacs = authority.issue("pacs.example", address="127.0.0.1")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(Authority(tmp_path, "other").certificate, trusted)
    options = ("+tls", str(pacs.key), str(pacs.certificate), "-ic")
    with dcmtk_storescp(tmp_path, *options) as peer:
        configure(destinations=[f"tls://STORESCP@127.0.0.1:{peer.port}"], tls_destinations_ca=trusted)
        (refused,) = oncue("doctor", "--state", place.state, "--json", "--only", "destinations").json
        shutil.copy(authority.certificate, trusted)
        (answered,) = oncue("doctor", "--state", place.state, "--json", "--only", "destinations").json
    assert refused["verdict"] == "broken"
    assert "[peer_untrusted]" in refused["detail"]
    assert "answered C-ECHO" in answered["detail"]
