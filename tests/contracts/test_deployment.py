from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from console.config import known_keys, variable
from tests.conftest import ROOT
from tests.console.test_help import COMMANDS

VARIABLES = {"POSTGRES_PASSWORD": "p1", "REDIS_PASSWORD": "p2", "ORTHANC_PASSWORD": "p3"}
SERVICES = {"postgres", "redis", "orthanc", "migrate", "gateway", "relay", "worker", "console"}
OURS = ("migrate", "gateway", "relay", "worker", "console")


@pytest.fixture(scope="module")
def compose() -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the dev extra")
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_docker_itself_takes_the_file(tmp_path: Any) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed: the other tests here read the file without it")
    environment = tmp_path / "env"
    environment.write_text("".join(f"{name}={value}\n" for name, value in VARIABLES.items()))
    command = [docker, "compose", "--env-file", str(environment), "--file", str(ROOT / "docker-compose.yml"), "config"]
    ran = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["services"].keys() == SERVICES


def test_every_service_is_there_with_a_health_check(compose: Any) -> None:
    assert compose["services"].keys() == SERVICES
    for name, service in compose["services"].items():
        assert name == "migrate" or "healthcheck" in service, name
    assert set(compose["volumes"]) == {"postgres", "redis", "orthanc", "objects", "state"}


def test_every_command_of_a_service_is_a_command_of_oncue(compose: Any) -> None:
    for name in OURS:
        assert tuple(compose["services"][name]["command"]) in COMMANDS
        test = compose["services"][name].get("healthcheck", {}).get("test", ["CMD", "oncue", "alive"])
        if test[1] == "oncue":
            assert (test[2],) in COMMANDS


def test_every_variable_of_a_service_is_a_setting_of_oncue(compose: Any) -> None:
    known = {"ONCUE_STATE", *(variable(key) for key in known_keys())}
    for name in OURS:
        assert set(compose["services"][name]["environment"]) <= known


def test_there_are_no_default_passwords_and_no_port_is_open_to_the_network() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in VARIABLES:
        uses = re.findall(rf"\$\{{{name}([^}}]*)\}}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)
    for published in re.findall(r"ports: \[(.*?)\]", text):
        for port in published.split(", "):
            assert port.strip('"').startswith(("127.0.0.1:", "${LISTEN:-127.0.0.1:"))


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_images_run_as_a_user_of_their_own_with_pinned_versions(name: str) -> None:
    text = (ROOT / "deploy" / f"{name}.Dockerfile").read_text()
    assert "\nUSER oncue\n" in text
    assert "--constraint constraints.txt" in text
    assert 'ENTRYPOINT ["oncue"]' in text
    assert (name == "worker") == ("'.[worker," in text)
    for source in re.findall(r"^COPY ([\w. -]+) \S+$", text, re.MULTILINE):
        for part in source.split():
            assert (ROOT / part).exists(), part
