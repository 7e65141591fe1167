from __future__ import annotations

from pathlib import Path

import pytest

from console.peers.trial import try_query
from tests.support.peers import free_port, orthanc
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
        found = [try_query(address, own_aet="ONCUE") for address in (title, f"{base}/dicom-web/", f"{base}/elsewhere")]
    assert [one.passed for one in found] == [True, True, False]
    assert found[1].detail.endswith("answered QIDO-RS with HTTP 200")
    assert found[2].detail.endswith("answered QIDO-RS with HTTP 404")


def test_a_query_address_that_does_not_answer_is_named() -> None:
    found = try_query(f"https://127.0.0.1:{free_port()}/dicom-web", own_aet="ONCUE")
    assert (found.passed, "does not answer (ConnectionRefusedError)" in found.detail) == (False, True)
