from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        out,
        ROOT,
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=300)
    (path,) = Path(out).glob("*.whl")
    return zipfile.Path(path)


def test_the_wheel_holds_exactly_the_packages_of_the_product(wheel: zipfile.Path) -> None:
    names = {entry.name for entry in wheel.iterdir()}
    assert names == {"console", "dicom_gateway", "phantom", "storage", "workers", "oncue-0.1.0.dist-info"}


@pytest.mark.parametrize(
    "path",
    [
        "storage/migrations/env.py",
        "storage/migrations/versions/0001_initial.py",
        "workers/triage-policy.toml",
        "console/templates/worklist.html",
        "console/static/console.css",
        "console/py.typed",
    ],
)
def test_the_wheel_holds_what_the_code_reads_at_run_time(wheel: zipfile.Path, path: str) -> None:
    assert wheel.joinpath(path).is_file()


def test_the_wheel_holds_every_shipped_weight_folder(wheel: zipfile.Path) -> None:
    shipped = {path.parent.name for path in (ROOT / "models").glob("*/manifest.json")}
    assert shipped <= {entry.name for entry in wheel.joinpath("workers/models").iterdir()}


def test_the_wheel_holds_no_tests_and_no_work_in_progress(wheel: zipfile.Path) -> None:
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        names = archive.namelist()
    assert not [
        name
        for name in names
        if name.startswith("tests/") or "__pycache__" in name or (name.endswith(".md") and "models" not in name)
    ]
