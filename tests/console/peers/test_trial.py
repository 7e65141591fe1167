from __future__ import annotations

from pathlib import Path

import pytest

from console.peers.trial import try_query
from dicom_gateway.config import GatewaySettings
from tests.support.certificates import Authority
from tests.support.peers import dcmtk_storescp, free_port, orthanc
from tests.support.required import missing_peer

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.mark.peer
@pytest.mark.slow
def test_a_query_address_is_asked_by_c_echo_or_as_a_dicomweb_service(tmp_path: Path) -> None:
    if not DICOMWEB.is_file():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    with orthanc(tmp_path, modalities=(("ONCUE", free_port()),), Plugins=[str(DICOMWEB)]) as pacs:
        base = f"http://127.0.0.1:{pacs.http_port}"
        title = f"{pacs.ae_title}@127.0.0.1:{pacs.port}"
        found = [
            try_query(address, GatewaySettings()) for address in (title, f"{base}/dicom-web/", f"{base}/elsewhere")
        ]
    assert [one.passed for one in found] == [True, True, False]
    assert found[1].detail.endswith("answered QIDO-RS with HTTP 200")
    assert found[2].detail.endswith("answered QIDO-RS with HTTP 404")


def test_a_query_address_that_does_not_answer_is_named() -> None:
    found = try_query(f"https://127.0.0.1:{free_port()}/dicom-web", GatewaySettings())
    assert (found.passed, "[source_unreachable]" in found.detail) == (False, True)


@pytest.mark.peer
@pytest.mark.slow
def test_a_query_address_with_tls_is_asked_as_the_settings_say(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pacs, ours = authority.issue("pacs.example", address="127.0.0.1"), authority.issue("gateway.example")
    settings = GatewaySettings(
        tls_destinations_ca=authority.certificate, tls_certificate=ours.certificate, tls_key=ours.key
    )
    serving = map(str, ("+tls", pacs.key, pacs.certificate, "+cf", authority.certificate))
    with dcmtk_storescp(tmp_path, *serving) as peer:
        address = f"tls://{peer.ae_title}@127.0.0.1:{peer.port}"
        found = [try_query(address, each) for each in (settings, GatewaySettings())]
    assert [one.passed for one in found] == [True, False]
    assert "[peer_untrusted]" in found[1].detail
