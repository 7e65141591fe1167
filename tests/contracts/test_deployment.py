from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any

import pytest
from sqlalchemy import make_url, text

from console.config import known_keys, variable
from storage.database import connect
from storage.history import auditors
from storage.roles import login
from storage.roles.rights import Role
from tests.conftest import ROOT
from tests.console.test_help import COMMANDS
from tests.support.commands import oncue
from tests.support.database_roles import fresh_database
from tests.support.required import missing_peer

VARIABLES = {"POSTGRES_PASSWORD": "p1", "SERVICE_PASSWORD": "p4", "REDIS_PASSWORD": "p2", "ORTHANC_PASSWORD": "p3"}
ONCE = ("migrate", "roles", "service-login")
STAYING = ("gateway", "relay", "worker", "console")
SERVICES = {"postgres", "redis", "orthanc", *ONCE, *STAYING}
OURS = ("migrate", "roles", *STAYING)


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
        assert name in ONCE or "healthcheck" in service, name
    assert set(compose["volumes"]) == {"postgres", "redis", "orthanc", "objects", "state"}


def test_every_command_of_a_service_is_a_command_of_oncue(compose: Any) -> None:
    for name in OURS:
        assert tuple(word for word in compose["services"][name]["command"] if word != "--create") in COMMANDS
        test = compose["services"][name].get("healthcheck", {}).get("test", ["CMD", "oncue", "alive"])
        if test[1] == "oncue":
            assert (test[2],) in COMMANDS


def test_every_variable_of_a_service_is_a_setting_of_oncue(compose: Any) -> None:
    known = {"ONCUE_STATE", *(variable(key) for key in known_keys())}
    for name in OURS:
        assert set(compose["services"][name]["environment"]) <= known


def test_what_stays_logs_in_as_a_role_that_may_change_no_event(compose: Any) -> None:
    for name in STAYING:
        service = compose["services"][name]
        assert "://oncue_service:${SERVICE_PASSWORD" in service["environment"]["ONCUE_STORAGE_DATABASE_URL"]
        assert "POSTGRES_PASSWORD" not in str(service)
        assert service["depends_on"]["service-login"] == {"condition": "service_completed_successfully"}


@pytest.mark.peer
def test_the_login_that_compose_makes_is_one_of_the_application(
    compose: Any, postgresql_server: str, postgresql_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_database(postgresql_server, postgresql_template) as url:
        monkeypatch.setenv("ONCUE_STORAGE_DATABASE_URL", url)
        try:
            for password in ("first", "second"):  # the second time as after an upgrade
                assert oncue(*compose["services"]["roles"]["command"]).code == 0
                _make_login(compose["services"]["service-login"]["command"], url, password)
            monkeypatch.setenv("ONCUE_STORAGE_DATABASE_URL", _as_service(url, "second"))
            assert oncue("db", "check").code == 0
            database = connect(_as_service(url, "second"))
            with database.read() as session:
                assert not login.may_undo_guards(session)
                assert not auditors.may_only_read(session)
            database.dispose()
        finally:
            _drop_roles(url)


def _make_login(command: list[str], url: str, password: str) -> None:
    """Run what the service runs, with the file that it mounts."""
    psql = shutil.which("psql") or missing_peer("psql is not installed: apt-get install postgresql-client")
    assert command[0] == "psql"
    mounted = [str(ROOT / "deploy" / word.lstrip("/")) if word.startswith("/") else word for word in command[1:]]
    parts = make_url(url)
    server = {"PGHOST": str(parts.query["host"]), "PGUSER": str(parts.username), "PGDATABASE": str(parts.database)}
    environment = {**os.environ, **server, "SERVICE_PASSWORD": password}
    ran = subprocess.run([psql, *mounted], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def _as_service(url: str, password: str) -> str:
    return make_url(url).set(username="oncue_service", password=password).render_as_string(hide_password=False)


def _drop_roles(url: str) -> None:
    names = ", ".join(["oncue_service", *(role.named("oncue") for role in Role)])
    database = connect(url)
    with database.write() as session:
        for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
            session.execute(text(statement.format(names)))
    database.dispose()


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
