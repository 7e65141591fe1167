"""TLS on the sending side, with DCMTK's storescp and Orthanc as destinations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.sender import send
from dicom_gateway.sending.verifying import EchoOutcome, echo
from dicom_gateway.status import PeerAnswer
from dicom_gateway.tls.destination_handshake import DestinationTls
from tests.support.certificates import Authority, Issued
from tests.support.peers import StoreScp, dcmtk_storescp, free_port, orthanc
from tests.support.senders import ct_image

pytestmark = [pytest.mark.slow, pytest.mark.peer]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def pacs(authority: Authority) -> Issued:
    """Return the destination's pair."""
    return authority.issue("pacs.example", address="127.0.0.1")


@pytest.fixture
def outgoing(tmp_path: Path) -> Outgoing:
    path = tmp_path / "image.dcm"
    ct_image().save_as(path, enforce_file_format=True)
    found = read_outgoing(path)
    assert found is not None
    return found


def tls(authority: Authority, own: Issued | None = None, **settings: Any) -> DestinationTls:
    """Return how to speak TLS with destinations of an authority, showing one's own certificate where given."""
    files: dict[str, Any] = {} if own is None else {"tls_certificate": own.certificate, "tls_key": own.key}
    return DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate, **files, **settings))


def serving(authority: Authority, pair: Issued, *options: str | Path) -> tuple[str, ...]:
    """Return DCMTK's options to serve with TLS; it wants client certificates of the authority."""
    return tuple(map(str, ("+tls", pair.key, pair.certificate, "+cf", authority.certificate, *options)))


def asked(peer: StoreScp, how: DestinationTls, host: str = "127.0.0.1") -> EchoOutcome:
    return echo(Destination(peer.ae_title, host, peer.port, tls=True), tls=how)


def test_objects_reach_storescp_over_tls_with_certificates_on_both_sides(
    tmp_path: Path, authority: Authority, pacs: Issued, outgoing: Outgoing
) -> None:
    own = authority.issue("gateway.example")
    with dcmtk_storescp(tmp_path, *serving(authority, pacs)) as peer:
        destination = Destination.parse(f"tls://{peer.ae_title}@127.0.0.1:{peer.port}")
        (outcome,) = send([outgoing], destination, tls=tls(authority, own))
        assert outcome.verdict is PeerAnswer.STORED
        assert len(peer.files()) == 1


def test_objects_reach_orthanc_over_tls(tmp_path: Path, authority: Authority, pacs: Issued, outgoing: Outgoing) -> None:
    with orthanc(tmp_path, **_orthanc_settings(authority, pacs)) as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port, tls=True)
        (outcome,) = send([outgoing], destination, tls=tls(authority, authority.issue("gateway.example")))
        assert outcome.verdict is PeerAnswer.STORED
        assert peer.sop_instance_uids() == (outgoing.sop_instance_uid,)


def test_a_destination_of_another_authority_gets_nothing_and_the_result_waits(
    tmp_path: Path, authority: Authority, pacs: Issued, outgoing: Outgoing
) -> None:
    trusted = Authority(tmp_path, "trusted")
    with dcmtk_storescp(tmp_path, *serving(authority, pacs, "-ic")) as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port, tls=True)
        (outcome,) = send([outgoing], destination, tls=tls(trusted))
        assert (outcome.verdict, outcome.code) == (PeerAnswer.TRANSIENT, "peer_untrusted")
        assert "issued by nobody among those trusted here" in outcome.reason
        assert not peer.files()


def test_without_settings_the_systems_authorities_are_asked(tmp_path: Path, authority: Authority, pacs: Issued) -> None:
    with dcmtk_storescp(tmp_path, *serving(authority, pacs, "-ic")) as peer:
        answer = echo(Destination(peer.ae_title, "127.0.0.1", peer.port, tls=True))
    assert (answer.answered, answer.code) == (False, "peer_untrusted")


def test_a_destination_that_wants_a_certificate_of_ours_says_so(
    tmp_path: Path, authority: Authority, pacs: Issued
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("gateway.example")
    with dcmtk_storescp(tmp_path, *serving(authority, pacs)) as peer:
        for own in (None, stranger):
            answer = asked(peer, tls(authority, own))
            assert (answer.answered, answer.code) == (False, "peer_untrusted")
            assert "refuses our certificate, or wants one" in answer.reason
        assert asked(peer, tls(authority, authority.issue("gateway.example"))).answered


def test_an_expired_certificate_of_a_destination_is_refused(tmp_path: Path, authority: Authority) -> None:
    expired = authority.issue("late.example", address="127.0.0.1", days=-1)
    with dcmtk_storescp(tmp_path, *serving(authority, expired, "-ic")) as peer:
        answer = asked(peer, tls(authority))
    assert answer.code == "peer_untrusted"
    assert "has expired" in answer.reason


def test_the_certificate_must_name_the_host_or_the_name_that_is_set_for_it(
    tmp_path: Path, authority: Authority
) -> None:
    elsewhere = authority.issue("archive.example")
    with dcmtk_storescp(tmp_path, *serving(authority, elsewhere, "-ic")) as peer:
        answer = asked(peer, tls(authority))
        assert answer.code == "peer_untrusted"
        assert "gateway.tls_destination_names" in answer.reason
        assert asked(peer, tls(authority, tls_destination_names={"127.0.0.1": "archive.example"})).answered


def test_a_revoked_certificate_of_a_destination_is_refused(tmp_path: Path, authority: Authority, pacs: Issued) -> None:
    how = tls(authority, tls_destinations_crl=authority.revoke())
    with dcmtk_storescp(tmp_path, *serving(authority, pacs, "-ic")) as peer:
        assert asked(peer, how).answered
        authority.revoke(pacs)
        answer = asked(peer, how)
    assert answer.code == "peer_untrusted"
    assert "revoked" in answer.reason


def test_tls_and_plain_dicom_do_not_pass_for_each_other(tmp_path: Path, authority: Authority, pacs: Issued) -> None:
    with dcmtk_storescp(tmp_path) as plain:
        answer = asked(plain, tls(authority))
        assert (answer.answered, answer.code) == (False, "peer_unreachable")
        assert echo(Destination(plain.ae_title, "127.0.0.1", plain.port)).answered
    with dcmtk_storescp(tmp_path, *serving(authority, pacs, "-ic")) as secured:
        assert not echo(Destination(secured.ae_title, "127.0.0.1", secured.port)).answered


def test_a_rejected_association_is_told_from_a_failed_handshake(
    tmp_path: Path, authority: Authority, pacs: Issued
) -> None:
    with orthanc(tmp_path, **_orthanc_settings(authority, pacs)) as peer:
        own = authority.issue("gateway.example")
        answer = echo(Destination("WRONG", "127.0.0.1", peer.port, tls=True), tls=tls(authority, own))
    assert (answer.answered, answer.code) == (False, "peer_rejected_object")


def test_a_destination_that_is_not_there_is_unreachable_and_not_untrusted(authority: Authority) -> None:
    answer = echo(Destination("PACS", "127.0.0.1", free_port(), tls=True), tls=tls(authority))
    assert answer.code == "peer_unreachable"


def test_a_trust_file_that_cannot_be_used_makes_results_wait_and_counts_once_it_is_mended(
    tmp_path: Path, authority: Authority, pacs: Issued
) -> None:
    trusted = tmp_path / "trusted.pem"
    how = DestinationTls(GatewaySettings(tls_destinations_ca=trusted))
    with capture_logs() as logged, dcmtk_storescp(tmp_path, *serving(authority, pacs, "-ic")) as peer:
        answer = asked(peer, how)
        assert answer.code == "peer_untrusted"
        assert str(trusted) in answer.reason
        shutil.copy(authority.certificate, trusted)
        assert asked(peer, how).answered
        trusted.write_text("")
        assert asked(peer, how).answered, "what was trusted before stays trusted"
    assert [entry["event"] for entry in logged] == ["certificates.not_reloaded"]


def _orthanc_settings(authority: Authority, pair: Issued) -> dict[str, Any]:
    return {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pair.certificate),
        "DicomTlsPrivateKey": str(pair.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
    }
