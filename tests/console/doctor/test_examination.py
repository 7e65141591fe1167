from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage
from pynetdicom import AE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.receiving.file_receiver import running_receiver
from tests.console.conftest import Place
from tests.support.commands import Ran, oncue
from tests.support.peers import free_port
from tests.support.system import QUICK, oncue_up, run_oncue


def _findings(ran: Ran) -> dict[str, Any]:
    return {item["subject"]: item for item in ran.json}


def _examined_destinations(place: Place) -> Ran:
    return oncue("doctor", "--state", place.state, "--json", "--only", "destinations")


# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def quiet_ports(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let the settings name ports that nobody holds."""
    port = free_port()
    monkeypatch.setenv("ONCUE_GATEWAY_PORT", str(port))
    monkeypatch.setenv("ONCUE_CONSOLE_PORT", str(free_port()))
    monkeypatch.setenv("ONCUE_STORAGE_RESERVE_MEGABYTES", "1")
    return port


@pytest.mark.usefixtures("quiet_ports")
@pytest.mark.slow
def test_what_is_not_running_is_a_remark_and_not_a_fault(place: Place) -> None:
    found = _findings(oncue("doctor", "--state", place.state, "--json"))
    assert found["database"]["verdict"] == "fine"
    assert found["disk"]["verdict"] == "fine"
    assert found["DICOM port"]["verdict"] == "fine"
    for subject in ("gateway", "relay", "worker", "listener", "broker"):
        assert found[subject]["verdict"] == "remark", found[subject]
    assert found["device"]["detail"].split(", ")[1] in ("float32", "bfloat16")


def test_a_port_that_somebody_else_holds_is_a_fault(place: Place, quiet_ports: int) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", quiet_ports))
        holder.listen()
        ran = oncue("doctor", "--state", place.state, "--json", "--only", "ports")
    assert ran.code == 1
    assert _findings(ran)["DICOM port"]["detail"] == f"127.0.0.1:{quiet_ports} is held by another program"


@pytest.mark.usefixtures("quiet_ports")
@pytest.mark.slow
def test_a_destination_is_asked_by_c_echo(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_receiver(tmp_path / "received") as receiver:
        monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", f"PACS@127.0.0.1:{receiver.port}")
        found = _findings(_examined_destinations(place))["destination"]
        assert found["verdict"] == "fine"
        assert "answered C-ECHO" in found["detail"]
        monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", f"OTHER@127.0.0.1:{receiver.port}")
        refused = _findings(_examined_destinations(place))["destination"]
        assert (refused["verdict"], refused["detail"][:22]) == ("broken", "[peer_rejected_object]")
    gone = _examined_destinations(place)
    assert gone.code == 1
    assert _findings(gone)["destination"]["detail"].startswith("[peer_unreachable]")


@pytest.mark.usefixtures("quiet_ports")
@pytest.mark.slow
def test_a_destination_that_refuses_a_kind_of_result_is_a_fault(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    entity = AE(ae_title="PACS")
    entity.supported_contexts = [build_context(Verification), build_context(Comprehensive3DSRStorage)]
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    destination = f"PACS@127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", destination)
    try:
        found = _findings(_examined_destinations(place))["destination"]
        monkeypatch.setenv("ONCUE_GATEWAY_REJECT_SUPERSEDED", destination)
        rejecting = _findings(_examined_destinations(place))["destination"]
    finally:
        server.shutdown()
    assert (found["verdict"], found["detail"][:22]) == ("broken", "[peer_rejected_object]")
    assert "refuses Segmentation Storage; allow" in found["detail"]
    assert "refuses Segmentation Storage, Key Object Selection Document Storage; allow" in rejecting["detail"]


@pytest.mark.usefixtures("quiet_ports")
def test_a_database_and_weights_that_are_not_there_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_WORKER_MODELS", str(tmp_path))
    ran = oncue("doctor", "--state", tmp_path / "state", "--json", "--only", "database", "--only", "weights")
    assert ran.code == 1
    found = _findings(ran)
    assert found["database"]["verdict"] == "broken"
    assert found["weights"]["detail"].startswith("[weights_mismatch]")


@pytest.mark.usefixtures("quiet_ports")
def test_a_missing_database_is_said_once(tmp_path: Path) -> None:
    chosen = [word for name in ("database", "gateway", "worker", "routes") for word in ("--only", name)]
    ran = oncue("doctor", "--state", tmp_path / "state", "--json", *chosen)
    assert ran.out.count("there is no oncue database") == 1
    assert [item["detail"] for item in ran.json if item["subject"] in ("gateway", "worker")] == [
        "not looked at: see database"
    ] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_ports")
def test_a_settings_file_that_is_not_there_is_not_called_fine(place: Place) -> None:
    settings = _findings(oncue("doctor", "--state", place.state, "--json"))["settings"]
    assert settings["detail"] == f"defaults and environment alone; there is no {place.state / 'oncue.toml'}"


def test_wrong_settings_are_the_first_and_only_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_GATEWAY_PROT", "1")
    ran = oncue("doctor", "--state", place.state)
    assert ran.code == 1
    assert "unknown variable ONCUE_GATEWAY_PROT" in ran.out


@pytest.mark.usefixtures("quiet_ports")
def test_one_part_alone_must_be_fine(place: Place) -> None:
    assert oncue("doctor", "--state", place.state, "--only", "database").code == 0
    ran = oncue("doctor", "--state", place.state, "--json", "--only", "relay", "--only", "worker")
    assert ran.code == 1
    assert [item["subject"] for item in ran.json] == ["relay", "worker"]
    wrong = oncue("doctor", "--state", place.state, "--only", "weather")
    assert wrong.code == 2
    assert "disk, database, incoming, history, gateway" in wrong.err


@pytest.mark.peer
def test_of_a_running_installation_everything_is_fine(tmp_path: Path) -> None:
    with (
        running_receiver(tmp_path / "received") as receiver,
        oncue_up(tmp_path / "state", destinations=[f"PACS@127.0.0.1:{receiver.port}"]) as system,
    ):
        system.wait_for(
            "doctor",
            until=lambda found: all(item["verdict"] == "fine" for item in found if item["subject"] != "weights"),
        )
        ran = run_oncue("doctor", "--state", str(system.state), variables=QUICK)
        assert f"ONCUE@127.0.0.1:{system.port} answered C-ECHO" in ran.stdout
