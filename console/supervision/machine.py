"""Everything on one machine: prepare the state folder, start the broker, then the four processes, and watch them."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from console.broker import BROKER_FOLDER
from console.config import Layer, Settings, as_variables
from console.installation import Installation, open_installation
from console.supervision.child import Child
from console.supervision.interruption import Interruption
from console.supervision.lock import exclusive
from console.supervision.orphans import die_with_parent
from console.supervision.ports import is_taken, reachable, settle
from console.supervision.site import Endpoints, Site, programs
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import PeerRejectedObject
from dicom_gateway.sending.verifying import echo
from storage import console_tokens, logs
from storage.database import utc_now
from workers.errors import BrokerUnavailable
from workers.queue.embedded_redis import EmbeddedRedis

_HTTP_SECONDS = 2.0
_AFTERLIFE_SECONDS = 30.0
_POLL_SECONDS = 0.2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whose the first token is: its name, and who made it as the audit trail says."""

    name: str
    actor: str


def run_machine(state: Path, *, file: Path | None, flags: Layer, owner: TokenOwner) -> None:
    """Run the whole system until SIGINT or SIGTERM; prints one line, «ready», once images can be received.

    A second line at the very first start has a token of the console for its owner: it is shown this once.
    """
    state = state.resolve()
    installation = open_installation(state, file=file, flags=flags)
    for folder in (state, state / "logs"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    interruption = Interruption.armed()
    with exclusive(state), (state / "logs" / "up.log").open("a") as log_file:
        logs.configure(stream=log_file)
        installation.prepare()
        endpoints = _settle_ports(installation.settings, state)
        with _broker(installation.settings, state) as broker:
            variables = _variables(flags, endpoints, broker)
            gateways = installation.settings.gateway.processes
            children = [Child(item) for item in programs(state, config=file, variables=variables, gateways=gateways)]
            site = Site(children, interruption, tick=lambda: _keep(broker))
            site.run(
                is_ready=lambda: _answers(installation.settings, endpoints),
                on_ready=lambda: _announce(state, endpoints, _first_token(installation, owner)),
            )
        Endpoints.forget(state)


def _settle_ports(settings: Settings, state: Path) -> Endpoints:
    """Return the endpoints with a free port in place of each 0; ConfigurationError where one is taken.

    After an `oncue up` that was killed, its gateway may still be letting associations finish: that is waited for.
    """
    wanted = Endpoints.of(settings)
    deadline = time.monotonic() + (_AFTERLIFE_SECONDS if Endpoints.read(state) else 0.0)
    while is_taken(wanted.host, wanted.port) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return replace(
        wanted,
        port=settle(wanted.host, wanted.port, key="gateway.port (--port)"),
        console_port=settle(wanted.console_host, wanted.console_port, key="console.port (--console-port)"),
    )


def _variables(flags: Layer, endpoints: Endpoints, broker: EmbeddedRedis | None) -> dict[str, str]:
    """Hand the flags, the chosen ports and the broker's address to the children; a variable wins over the file."""
    layer = {section: dict(values) for section, values in flags.items()}
    layer.setdefault("gateway", {})["port"] = endpoints.port
    layer.setdefault("console", {})["port"] = endpoints.console_port
    if broker is not None:
        layer.setdefault("worker", {})["broker_url"] = broker.endpoint.url
    return as_variables(layer)


@contextmanager
def _broker(settings: Settings, state: Path) -> Iterator[EmbeddedRedis | None]:
    """Run the embedded broker while the block runs, unless another one is configured."""
    if settings.worker.broker_url.get_secret_value():
        yield None
        return
    broker = EmbeddedRedis(state / BROKER_FOLDER, before_exec=partial(die_with_parent, os.getpid()))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _keep(broker: EmbeddedRedis | None) -> None:
    """Start the broker again where it ended; where that fails, the next tick tries again."""
    if broker is None or broker.is_running():
        return
    log.warning("broker.ended")
    try:
        broker.start()
    except BrokerUnavailable as error:
        log.warning("broker.not_started", code=error.code, reason=str(error))


def _answers(settings: Settings, endpoints: Endpoints) -> bool:
    """Say whether the listener answers C-ECHO and the console answers HTTP."""
    listener = Destination(endpoints.aet, reachable(endpoints.host), endpoints.port)
    outcome = echo(listener, calling_ae_title=endpoints.aet)
    # A listener that turns us away by its own rules is there all the same.
    listens = outcome.answered or outcome.code == PeerRejectedObject.code
    return listens and _serves(reachable(endpoints.console_host), endpoints.console_port, settings)


def _serves(host: str, port: int, settings: Settings) -> bool:
    with closing(http.client.HTTPConnection(host, port, timeout=_HTTP_SECONDS)) as connection:
        try:
            connection.request("GET", "/healthz", headers={"Host": settings.console.allowed_hosts[0]})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _first_token(installation: Installation, owner: TokenOwner) -> str | None:
    """Make the installation's first token; None where there ever was one."""
    with installation.database.write() as session:
        if console_tokens.was_any_made(session):
            return None
        return console_tokens.make(session, owner.name, actor=owner.actor, now=utc_now())


def _announce(state: Path, endpoints: Endpoints, token: str | None) -> None:
    endpoints.write(state)
    pages = f"http://{reachable(endpoints.console_host)}:{endpoints.console_port}"
    shown_once = f"sign in at {pages}/sign-in with this token, which is shown this once: {token}\n" if token else ""
    # In one piece: whoever reads no further than the first line may have closed the pipe before a second.
    sys.stdout.write(f"ready\n{shown_once}")
    sys.stdout.flush()
    log.info("up.ready", port=endpoints.port, console_port=endpoints.console_port)
