from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.migrated import put_database
from tests.support.product import (
    LABORATORY,
    libraries,
    modules_of,
    normalised,
    pins,
    product_packages,
    requirements,
)

RUN_A_BROKER = {"console.broker", "console.supervision.machine"}
"""What `oncue up` alone imports: it starts a Redis server, and no image contains it."""

CONNECTIONS = ("socket.connect", "socket.getaddrinfo", "sqlite3.connect")
"""What the interpreter reports when somebody connects."""

_IMPORTS = """
import importlib, sys

def refuse(event, arguments):
    if event in {events!r} or event == "open" and str(arguments[0]).endswith((".safetensors", ".sqlite")):
        raise RuntimeError(f"{{event}} {{arguments}}")

for name in {lacking!r}:
    sys.modules[name] = None
sys.addaudithook(refuse)
for name in sorted({modules!r}):
    importlib.import_module(name)
"""


def _import_all(modules: Iterable[str], *, lacking: Collection[str] = (), events: Collection[str] = ()) -> str:
    """Import modules in a fresh interpreter that lacks some libraries; return what it complained about."""
    code = _IMPORTS.format(modules=tuple(modules), lacking=tuple(sorted(lacking)), events=tuple(events))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    return "" if ran.returncode == 0 else ran.stderr or f"exit code {ran.returncode}"


def _modules(*packages: str) -> set[str]:
    return {module for package in packages for module in modules_of(package)}


def test_the_import_contracts_hold() -> None:
    program = f"{sys.prefix}/bin/lint-imports"
    ran = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_what_runs_in_the_gateway_image_needs_nothing_that_only_a_worker_has() -> None:
    lacking = libraries("worker") - libraries("console")
    assert {"torch", "celery", "redis", "diffusers", "transformers", "safetensors"} <= lacking
    modules = _modules("storage", "dicom_gateway", "phantom", "console") - RUN_A_BROKER
    assert not _import_all(modules, lacking=lacking)


@pytest.mark.slow
def test_only_what_starts_a_broker_is_left_out_of_the_gateway_image() -> None:
    assert set(modules_of("console")) >= RUN_A_BROKER
    for module in RUN_A_BROKER:
        assert "import of redis halted" in _import_all([module], lacking=["redis"])


@pytest.mark.slow
def test_importing_any_module_needs_no_laboratory_connects_to_nothing_and_opens_no_model() -> None:
    assert not _import_all(_modules(*product_packages()), lacking=[LABORATORY], events=CONNECTIONS)


def test_nothing_that_is_installed_needs_torchvision() -> None:
    installed = {normalised(item.metadata["Name"]) for item in importlib.metadata.distributions()}
    assert "torchvision" not in installed
    assert "torchvision" not in pins()


def test_every_dependency_is_pinned_to_a_release_that_it_allows() -> None:
    # Their torchvision has to fit the torch of the site, so no release of these two is ours to fix.
    left_to_the_site = {requirement.name for requirement in requirements("hub-backbones")}
    extras = importlib.metadata.metadata("oncue").get_all("Provides-Extra") or []
    ours = {requirement.name for requirement in requirements(*(set(extras) - {"hub-backbones"}))}
    for requirement in requirements(*extras):
        if requirement.name in left_to_the_site - ours or requirement.name == "oncue":
            continue  # an extra may take in another extra of ours
        pinned = pins().get(normalised(requirement.name))
        assert pinned is not None, f"{requirement} is not in constraints.txt"
        assert requirement.specifier.contains(pinned, prereleases=True), f"{requirement} against {pinned}"


def test_torch_is_pinned_to_the_release_that_these_tests_run_with() -> None:
    assert importlib.metadata.version("torch").partition("+")[0] == pins()["torch"]


def test_a_gateway_loads_what_writes_reports_with_the_first_one_that_it_writes() -> None:
    """Its tables of codes take 20 MB, in each process of a gateway that only receives, too."""
    code = "import sys, dicom_gateway.gateway; sys.exit('highdicom' in sys.modules or 'pydicom.sr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("process", ["gateway", "console"])
def test_a_process_that_stays_loads_nothing_to_colour_a_terminal_with(process: str, tmp_path: Path) -> None:
    """Before there is a database a process has loaded what opens one, and ends."""
    code = """
import sys
from console.cli import main
try:
    main()
except SystemExit:
    sys.exit(sys.modules.get("rich") or "sqlalchemy" not in sys.modules)
"""
    command = [sys.executable, "-c", code, process, "--state", str(tmp_path)]
    assert subprocess.run(command, timeout=120, check=False, stderr=subprocess.DEVNULL).returncode == 0


def test_oncue_up_asks_its_own_listener_without_what_reads_data_sets() -> None:
    code = "import sys, console.supervision.machine; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


@pytest.mark.slow
def test_an_installation_that_is_as_it_should_be_is_prepared_without_what_migrates(tmp_path: Path) -> None:
    put_database(tmp_path)
    code = """
import sys
from pathlib import Path
from console.installation import open_installation
open_installation(Path(sys.argv[1])).prepare()
sys.exit("alembic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code, tmp_path], timeout=120, check=False).returncode == 0
