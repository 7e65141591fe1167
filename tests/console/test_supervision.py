from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from console.supervision.lock import exclusive, is_held
from console.supervision.ports import is_taken, reachable, settle
from phantom.study import write_phantom_study
from storage.errors import ConfigurationError
from tests.support.system import ONCUE, QUICK, environment, oncue_up, run_oncue


def _wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [item for item in processes if item.is_running() and item.status() != psutil.STATUS_ZOMBIE]


def _is_new(child: psutil.Process, name: str, before: dict[str, int]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return child.pid not in before.values() and name in child.cmdline()
    return False


def test_one_state_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(ConfigurationError, match=f"already runs .*process {os.getpid()}"), exclusive(tmp_path):
            pass
    assert not is_held(tmp_path)
    with exclusive(tmp_path):
        pass


def test_a_free_port_is_found_and_a_taken_one_is_named(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    port = settle("127.0.0.1", 0, key="gateway.port")
    assert port > 0
    assert not is_taken("127.0.0.1", port)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        assert is_taken("127.0.0.1", port)
        with pytest.raises(ConfigurationError, match=r"cannot be listened on .* set gateway\.port"):
            settle("127.0.0.1", port, key="gateway.port")
    with pytest.raises(ConfigurationError, match=r"set gateway\.host to one of this machine"):
        settle("203.0.113.77", 0, key="gateway.port (--port)")  # an address that nobody has (RFC 5737)
    assert (reachable("0.0.0.0"), reachable("::"), reachable("10.0.0.1")) == ("127.0.0.1", "::1", "10.0.0.1")  # noqa: S104 - a name, nothing is bound


@pytest.mark.peer
def test_up_starts_everything_restarts_what_dies_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with oncue_up(tmp_path / "state", from_nothing=True) as system:
        names = ("gateway", "relay", "worker", "console")
        before = {name: system.child(name).pid for name in names}
        assert len(set(before.values())) == 4
        assert (tmp_path / "state").stat().st_mode & 0o077 == 0
        second = run_oncue("up", "--state", str(system.state), "--port", "0", "--console-port", "0", variables=QUICK)
        assert second.returncode == 1
        assert "error [configuration_error]: `oncue up` already runs on" in second.stderr
        os.kill(before["relay"], signal.SIGKILL)
        _wait_until(lambda: any(_is_new(child, "relay", before) for child in system.children()))
        everything = system.children()
        assert system.stop() == 0
        _wait_until(lambda: not _alive(everything))


@pytest.mark.peer
def test_the_children_end_when_up_is_killed_and_the_next_up_takes_over(tmp_path: Path) -> None:
    with oncue_up(tmp_path / "state") as system:
        port, ours = system.port, system.children()
        assert any(child.name() in ("redis-server", "valkey-server") for child in ours)
        system.process.kill()
        system.process.wait()
        # At once, and on the same port: what the old gateway still holds is waited for.
        with oncue_up(tmp_path / "state", variables={**QUICK, "ONCUE_GATEWAY_PORT": str(port)}, port=None) as again:
            assert again.port == port
            assert again.ask("audit", "verify")["events"] > 0
        _wait_until(lambda: not _alive(ours))


@pytest.mark.peer
def test_a_broker_that_dies_is_started_again_and_work_goes_on(tmp_path: Path) -> None:
    study = write_phantom_study(tmp_path / "study", seed=3, slices=8, size=64)
    with oncue_up(tmp_path / "state") as system:
        broker = next(child for child in system.children() if child.name() in ("redis-server", "valkey-server"))
        broker.kill()
        sent = run_oncue("send", str(study.series_folder), f"ONCUE@127.0.0.1:{system.port}")
        assert sent.returncode == 0, sent.stdout + sent.stderr
        system.wait_for("jobs", "list", until=lambda jobs: bool(jobs) and jobs[0]["state"] == "succeeded")


@pytest.mark.slow
def test_up_says_at_once_what_keeps_it_from_starting(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ran = run_oncue("up", "--state", str(tmp_path / "state"), "--port", str(port), variables=QUICK)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"error [configuration_error]: 127.0.0.1:{port} cannot be listened on")
    assert "ready" not in ran.stdout
    several = ("--destination", "ONE@127.0.0.1:104", "NONSENSE")
    wrong = run_oncue("up", "--state", str(tmp_path / "state"), *several, variables=QUICK)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error [configuration_error]: destination 'NONSENSE' is not complete")


@pytest.mark.slow
def test_up_may_be_interrupted_before_it_is_ready(tmp_path: Path) -> None:
    command = [ONCUE, "up", "--state", str(tmp_path / "state"), "--port", "0", "--console-port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment(QUICK))
    _wait_until(lambda: bool(psutil.Process(process.pid).children()))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].partition("\n")[0] in ("", "ready")
    assert process.returncode == 0
