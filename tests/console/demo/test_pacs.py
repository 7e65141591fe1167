"""The demonstration's PACS: Orthanc where it is there, whatever else takes ports on the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from console.demo.pacs import PacsFailed, running_pacs
from tests.support import peers

_ENDS_AT_FIRST = """#!/bin/sh
if [ -e "{marker}" ]; then exec "{orthanc}" "$@"; fi
: > "{marker}"
echo "the TCP port is already in use" >&2
exit 1
"""


def _orthanc_is(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = folder / "programs"
    programs.mkdir()
    program = programs / "Orthanc"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.peer
def test_an_orthanc_whose_port_another_program_took_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc = peers.executable("Orthanc")
    _orthanc_is(_ENDS_AT_FIRST.format(marker=tmp_path / "ended", orthanc=orthanc), tmp_path, monkeypatch)
    with running_pacs(tmp_path) as pacs:
        assert pacs.title == "Orthanc"
        assert pacs.objects() == ()
    assert (tmp_path / "ended").exists()


def test_an_orthanc_that_never_starts_is_named_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _orthanc_is("#!/bin/sh\necho 'no licence to run'\nexit 1\n", tmp_path, monkeypatch)
    with pytest.raises(PacsFailed, match=r"orthanc\.log"), running_pacs(tmp_path):
        pass
    assert "no licence to run" in (tmp_path / "orthanc.log").read_text()
