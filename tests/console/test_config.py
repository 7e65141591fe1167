from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from console.config import SettingOrigin, as_variables, known_keys, read, variable
from storage.errors import ConfigurationError
from tests.support.commands import oncue

SECRET = "hunter2-not-for-logs"  # noqa: S105 - it is here to be looked for


def _file(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "oncue.toml"
    path.write_text(text)
    return path


def test_without_any_setting_every_value_is_a_default(tmp_path: Path) -> None:
    effective = read(tmp_path).effective()
    assert {item.origin for item in effective} == {SettingOrigin.DEFAULT}
    assert {item.key: item.value for item in effective}["gateway.port"] == "11112"


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file(tmp_path, '[gateway]\naet = "FILE"\nport = 1001\nquiet_seconds = 3\n')
    monkeypatch.setenv("ONCUE_GATEWAY_AET", "VARIABLE")
    monkeypatch.setenv("ONCUE_GATEWAY_PORT", "1002")
    configuration = read(tmp_path, flags={"gateway": {"port": 1003}})
    gateway = configuration.settings.gateway
    assert (gateway.port, gateway.aet, gateway.quiet_seconds) == (1003, "VARIABLE", 3)
    origins = {item.key: item.origin for item in configuration.effective()}
    assert origins["gateway.port"] is SettingOrigin.FLAG
    assert origins["gateway.aet"] is SettingOrigin.ENVIRONMENT
    assert origins["gateway.quiet_seconds"] is SettingOrigin.FILE
    assert origins["console.port"] is SettingOrigin.DEFAULT


@pytest.mark.parametrize(
    ("text", "named", "nearest"),
    [
        ("[gateway]\nprot = 104\n", "gateway.prot", "gateway.port"),
        ("[gate]\nport = 104\n", "gate", "did you mean gateway?"),
        ("port = 104\n", "port", ".port?"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_known_one(
    tmp_path: Path, text: str, named: str, nearest: str
) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path)
    assert f"unknown key {named} in {path}" in str(refused.value)
    assert nearest in str(refused.value)


@pytest.mark.parametrize(
    ("name", "nearest"), [("ONCUE_GATEWAY_PROT", "ONCUE_GATEWAY_PORT"), ("ONCUE_STAT", "ONCUE_STATE")]
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=f"unknown variable {name}; did you mean {nearest}"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["ONCUE_STATE", "ONCUE_CONFIG", "ONCUE_TEST_DATA", "ONCUE_REQUIRE_PEERS"])
def test_variables_that_are_no_settings_are_let_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    read(tmp_path)


def test_a_wrong_value_is_named_with_its_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, "[gateway]\nport = 99999\n")
    monkeypatch.setenv("ONCUE_CONSOLE_PORT", "eighty")
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path)
    assert "gateway.port (file)" in str(refused.value)
    assert "console.port (environment)" in str(refused.value)


def test_a_list_may_be_written_with_commas_or_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("ONE@127.0.0.1:104", "TWO@127.0.0.1:105")
    for text in (", ".join(wanted), '["ONE@127.0.0.1:104", "TWO@127.0.0.1:105"]'):
        monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", text)
        assert read(tmp_path).settings.gateway.destinations == wanted


def test_what_goes_to_children_as_variables_is_read_back_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer: dict[str, dict[str, Any]] = {
        "gateway": {"aet": "MINE", "destinations": ["A@h:1", "B@h:2"]},
        "worker": {"broker_url": "redis://:p,w@127.0.0.1:1/0", "analysers": {"mine": "module:function"}},
    }
    for name, value in as_variables(layer).items():
        monkeypatch.setenv(name, value)
    settings = read(tmp_path).settings
    assert settings.gateway.destinations == ("A@h:1", "B@h:2")
    assert settings.worker.analysers == {"mine": "module:function"}
    assert settings.worker.broker_url.get_secret_value() == "redis://:p,w@127.0.0.1:1/0"


def test_a_secret_is_shown_masked_and_never_quoted_in_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_WORKER_BROKER_URL", f"redis://:{SECRET}@127.0.0.1/0")
    monkeypatch.setenv("ONCUE_STORAGE_DATABASE_URL", f"postgresql://u:{SECRET}@h/d")
    for arguments in ((), ("--json",)):
        shown = oncue("config", "--state", tmp_path, *arguments)
        assert shown.code == 0
        assert SECRET not in shown.out + shown.err
        assert "ONCUE_WORKER_BROKER_URL" not in shown.err
    monkeypatch.setenv("ONCUE_GATEWAY_PORT", SECRET)
    refused = oncue("config", "--state", tmp_path)
    assert refused.code == 1
    assert SECRET not in refused.out + refused.err


def test_config_as_json_names_key_value_and_origin(tmp_path: Path) -> None:
    _file(tmp_path, "[gateway]\nport = 104\n")
    shown = {item["key"]: item for item in oncue("config", "--state", tmp_path, "--json").json}
    assert shown["gateway.port"]["value"] == "104"
    assert shown["gateway.port"]["origin"] == "file"
    assert shown.keys() == known_keys().keys()


def test_a_file_that_is_no_toml_or_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    path = _file(tmp_path, "[gateway\n")
    assert f"error [configuration_error]: {path} is not TOML" in oncue("config", "--state", tmp_path).err
    missing = oncue("config", "--state", tmp_path, "--config", tmp_path / "other.toml")
    assert missing.code == 1
    assert "there is no configuration file" in missing.err


def test_every_key_has_a_variable_of_its_own_and_a_description() -> None:
    names = [variable(key) for key in known_keys()]
    assert len(set(names)) == len(names)
    assert all(field.description for field in known_keys().values())


def test_further_listeners_come_from_the_file_or_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[gateway]\ntls_certificate = "c.pem"\ntls_callers_ca = "ca.pem"\n[[gateway.listeners]]\nhost = "0.0.0.0"\n'
    _file(tmp_path, text)
    shown = {item.key: item.value for item in read(tmp_path).effective()}
    assert shown["gateway.listeners"] == "0.0.0.0:2762 (TLS, client certificates required)"
    monkeypatch.setenv("ONCUE_GATEWAY_LISTENERS", '[{"port": 11113, "tls": false}]')
    shown = {item.key: item.value for item in read(tmp_path).effective()}
    assert shown["gateway.listeners"] == "127.0.0.1:11113 (without TLS)"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[gateway.listeners]]\n", r"^gateway\.listeners: a listener with TLS needs gateway\.tls_certificate"),
        (
            '[gateway]\ntls_certificate = "c.pem"\n[[gateway.listeners]]\n',
            r"^gateway\.listeners: client certificates are held against gateway\.tls_callers_ca",
        ),
        ('[gateway]\ntls_key = "c.key"\n', r"^gateway\.tls_key is set without gateway\.tls_certificate"),
        ("[[gateway.listeners]]\nprot = 5\n", r"^gateway\.listeners \(file, 1, prot\): "),
        ("[[gateway.listeners]]\nport = 70000\n", r"^gateway\.listeners \(file, 1, port\): "),
    ],
)
def test_a_listener_that_cannot_be_is_refused_with_its_reason(tmp_path: Path, text: str, complaint: str) -> None:
    _file(tmp_path, text)
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path)


def test_the_password_of_the_private_key_is_masked(tmp_path: Path) -> None:
    _file(tmp_path, f'[gateway]\ntls_key_password = "{SECRET}"\n')
    assert SECRET not in oncue("config", "--state", tmp_path).out


def test_who_may_send_is_no_setting_any_more_and_the_commands_that_say_it_now_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _file(tmp_path, '[gateway]\nallowed_aets = ["CT1", "MR 2"]\nlanes = {CT1 = "stat", ER = "batch"}\n')
    with pytest.raises(ConfigurationError) as refused:
        read(tmp_path)
    for words in (
        f"gateway.allowed_aets and gateway.lanes in {tmp_path / 'oncue.toml'}",
        "Take them out, start oncue, then `oncue peers add CT1 --aet CT1 --lane stat`",
        "`oncue peers add MR-2 --aet 'MR 2'`",
        "`oncue peers add ER --aet ER --lane batch`",
    ):
        assert words in str(refused.value)
    _file(tmp_path, "")
    for text in ("CT1,MR2", '["CT1", "MR2"]'):
        monkeypatch.setenv("ONCUE_GATEWAY_ALLOWED_AETS", text)
        with pytest.raises(ConfigurationError, match="`oncue peers add MR2 --aet MR2`"):
            read(tmp_path)
    monkeypatch.setenv("ONCUE_GATEWAY_ALLOWED_AETS", "[]")
    with pytest.raises(ConfigurationError, match="`oncue peers add NAME --aet AET` for each peer"):
        read(tmp_path)
