from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.product import modules_of, product_packages, project
from workers.config import FAMILIES_FOLDER, SEGMENTATION_FOLDER
from workers.fewshot import starter
from workers.guard import region_guard

pytestmark = pytest.mark.slow


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
    assert names == {*product_packages(), f"oncue-{project()['project']['version']}.dist-info"}


def test_the_wheel_holds_every_module_of_the_product_and_no_other(wheel: zipfile.Path) -> None:
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        files = [Path(name) for name in archive.namelist() if name.endswith(".py")]
    held = {file.with_suffix("").parts for file in files if file.parts[:2] != ("storage", "migrations")}
    modules = {".".join(part for part in parts if part != "__init__") for parts in held}
    assert modules == {module for package in product_packages() for module in modules_of(package)}


@pytest.mark.parametrize(
    "path",
    [
        "storage/migrations/env.py",
        "storage/migrations/versions/0001_initial.py",
        "storage/triage/triage-policy.toml",
        "console/templates/worklist.html",
        "console/static/console.css",
        "console/py.typed",
    ],
)
def test_the_wheel_holds_what_the_code_reads_at_run_time(wheel: zipfile.Path, path: str) -> None:
    assert wheel.joinpath(path).is_file()


def test_the_wheel_holds_the_models_that_the_product_names_and_none_of_the_laboratory(wheel: zipfile.Path) -> None:
    models = wheel.joinpath("workers/models")
    single = {SEGMENTATION_FOLDER, starter.FOLDER, region_guard.FOLDER}
    assert {entry.name for entry in models.iterdir()} == {*single, FAMILIES_FOLDER}
    families = list(models.joinpath(FAMILIES_FOLDER).iterdir())
    assert {family.name for family in families} == {"body-ct", "breast-us", "head-mr", "limb-mr", "lung-ct", "pet"}
    for folder in (*(models.joinpath(name) for name in single), *families):
        assert folder.joinpath("manifest.json").is_file()


def test_the_wheel_holds_no_tests_and_no_work_in_progress(wheel: zipfile.Path) -> None:
    with zipfile.ZipFile(str(wheel.root.filename)) as archive:
        names = archive.namelist()
    assert not [
        name
        for name in names
        if name.startswith("tests/") or "__pycache__" in name or (name.endswith(".md") and "models" not in name)
    ]
