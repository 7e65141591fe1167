from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.doctor.examination import examine
from console.doctor.parts import PartHealth


def test_watched_folders_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rejecting" / "rejected").mkdir(parents=True)
    (tmp_path / "rejecting" / "rejected" / "a.txt").touch()
    (tmp_path / "rejecting" / "rejected" / "a.txt.reason.txt").touch()
    (tmp_path / "fine").mkdir()
    (tmp_path / "file").touch()
    folders = [{"path": str(tmp_path / name)} for name in ("fine", "rejecting", "missing", "file")]
    monkeypatch.setenv("ONCUE_GATEWAY_WATCHED_FOLDERS", json.dumps(folders))
    fine, rejecting, missing, file = examine(tmp_path / "state", only=["folders"])
    assert fine.verdict is PartHealth.FINE
    assert (rejecting.verdict, rejecting.detail.split()[0]) == (PartHealth.REMARK, "1")
    assert {missing.verdict, file.verdict} == {PartHealth.BROKEN}
    assert "make or mount it" in missing.detail
