"""`oncue certificates` makes what TLS needs, in words that can be pasted, and lists what there is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from console.config import read
from dicom_gateway.tls.doors import server_doors
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.commands import oncue
from tests.support.gateways import running_gateway
from tests.support.peers import free_port
from tests.support.senders import ct_image

pytestmark = pytest.mark.slow


def make(state: Path, *options: str) -> str:
    ran = oncue("certificates", "make", "--state", state, "--name", "localhost", *options)
    assert ran.code == 0, ran.err
    return ran.out


def test_what_make_prints_is_a_configuration_that_works(tmp_path: Path) -> None:
    state = tmp_path / "state"
    printed = make(state, "--client", "CT1")
    assert (state.stat().st_mode & 0o777) == 0o700
    text = printed[printed.index("[gateway]") :]
    tomllib.loads(text)
    (state / "oncue.toml").write_text(text)
    _, door = server_doors(read(state).settings.gateway)
    assert (door.host, door.port) == ("0.0.0.0", 2762)  # noqa: S104 - that is what a trial listens on
    assert door.secure is not None


def test_make_keeps_what_is_there_and_says_where_names_differ(tmp_path: Path) -> None:
    make(tmp_path)
    before = (tmp_path / "certificates" / "server.pem").read_bytes()
    again = make(tmp_path, "--name", "10.0.0.7", "--client", "CT1")
    assert "it names localhost alone: --renew" in again
    assert (tmp_path / "certificates" / "server.pem").read_bytes() == before
    make(tmp_path, "--name", "10.0.0.7", "--renew")
    listed = oncue("certificates", "list", "--state", tmp_path, "--json").json
    assert [item["names"] for item in listed if item["file"].endswith("server.pem")] == [["localhost", "10.0.0.7"]]


@pytest.mark.parametrize("title", ["SEVENTEEN_LETTERS", "A\\B", ""])
def test_a_caller_that_is_no_ae_title_gets_no_certificate(tmp_path: Path, title: str) -> None:
    ran = oncue("certificates", "make", "--state", tmp_path, "--name", "localhost", "--client", title)
    assert ran.code != 0
    assert "an AE title has 1 to 16 characters" in ran.err
    assert not (tmp_path / "certificates").exists()


def test_the_list_holds_what_the_settings_name_with_its_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "none: `oncue certificates make`" in oncue("certificates", "list", "--state", tmp_path).out
    make(tmp_path, "--client", "CT1")
    monkeypatch.setenv("ONCUE_GATEWAY_TLS_CALLERS_CA", str(tmp_path / "gone.pem"))
    items = oncue("certificates", "list", "--state", tmp_path, "--json").json
    assert [(item["used_as"], item["kind"], item["validity"]) for item in items] == [
        ("gateway.tls_callers_ca", "authority", "unusable"),
        ("trial", "authority", "valid"),
        ("trial", "certificate", "valid"),
        ("trial", "certificate", "valid"),
    ]
    assert "gone.pem cannot be read" in oncue("certificates", "list", "--state", tmp_path).out


def test_send_speaks_tls_with_the_certificates_it_is_given(
    tmp_path: Path, sqlite_database: Database, objects: ObjectStore
) -> None:
    make(tmp_path, "--client", "CT1")
    folder, port = tmp_path / "certificates", free_port()
    (tmp_path / "images").mkdir()
    ct_image().save_as(tmp_path / "images" / "1.dcm", enforce_file_format=True)
    settings: dict[str, Any] = {
        "listeners": ({"port": port},),
        "tls_certificate": folder / "server.pem",
        "tls_key": folder / "server.key",
        "tls_callers_ca": folder / "ca.pem",
    }
    target = f"tls://ONCUE@localhost:{port}"
    own = ("--certificate", folder / "client-CT1.pem", "--key", folder / "client-CT1.key")
    with running_gateway(sqlite_database, objects, **settings) as running:
        untrusted = oncue("send", tmp_path / "images", target)
        assert (untrusted.code, "[peer_untrusted]" in untrusted.out) == (1, True)
        assert oncue("send", tmp_path / "images", target, "--ca", folder / "ca.pem", *own).code == 0
        assert len(running.instances()) == 1
