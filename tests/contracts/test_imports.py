from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

GATEWAY_IMAGE_LACKS = ("torch", "diffusers", "transformers", "safetensors", "celery", "kombu", "redis")


def test_the_import_contracts_hold() -> None:
    program = f"{sys.prefix}/bin/lint-imports"
    ran = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "module",
    [
        "dicom_gateway.gateway",
        "console.app",
        "console.commands.compositions",
        "console.doctor.examination",
    ],
)
def test_what_runs_in_the_gateway_image_needs_no_torch_and_no_broker(module: str) -> None:
    code = f"import sys\nfor name in {GATEWAY_IMAGE_LACKS!r}: sys.modules[name] = None\nimport {module}\n"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("package", ["storage", "dicom_gateway", "workers", "console"])
def test_importing_a_package_connects_to_nothing_and_loads_no_model(package: str) -> None:
    code = f"import sys, {package}\nassert not [m for m in ('torch', 'sqlalchemy', 'celery') if m in sys.modules]\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_that_is_installed_needs_torchvision() -> None:
    installed = {_normal(item.metadata["Name"]) for item in importlib.metadata.distributions()}
    assert "torchvision" not in installed
    pinned = {_normal(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert "torchvision" not in pinned


def test_every_dependency_is_pinned_and_torch_to_the_release_that_was_tested() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"
    )
    assert pins["torch"] == "2.13.0"
    names = {_normal(name) for name in pins}
    # Their torchvision has to fit the torch of the site, so no release of these two is ours to fix.
    left_to_the_site = 'extra == "hub-backbones"'
    for text in importlib.metadata.requires("oncue") or []:
        if text.replace("'", '"').endswith(left_to_the_site):
            continue
        match = re.match(r"[A-Za-z0-9._-]+", text)
        assert match is not None
        assert _normal(match.group()) in names, text


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
