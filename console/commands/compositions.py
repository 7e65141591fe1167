"""The composition roots: here, and nowhere else, the parts of a process are put together."""

from __future__ import annotations

import contextlib
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from console.config import Layer
from console.installation import Installation, open_installation
from console.supervision.interruption import Interruption
from storage import logs, revisions
from storage.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.queue.child import WorkerPlace


def gateway_of_processes(state: Path, *, file: Path | None, flags: Layer) -> None:
    """Run a gateway in as many processes as the settings say until told to stop; one is this process itself."""
    settings = open_installation(state.resolve(), file=file, flags=flags).settings
    if settings.gateway.processes == 1:
        gateway(state, file=file, flags=flags, only_receives=False)
        return
    from console.supervision.gateway_processes import run_gateway_processes

    interruption = Interruption.armed()
    _opened(state, file)
    run_gateway_processes(state.resolve(), settings, interruption, file=file, flags=flags)


def gateway(state: Path, *, file: Path | None, flags: Layer, only_receives: bool) -> None:
    """Run listener, assembly and delivery, or the listener alone, until told to stop."""
    from console.history.forwarding import forwarding_thread
    from console.history.log_key import sealing_thread
    from console.routes.routes_file import routes_of_site
    from dicom_gateway.cyclic_garbage import exempt_what_is_there
    from dicom_gateway.gateway import Gateway

    interruption = Interruption.armed()
    installation = _opened(state, file, flags)
    process = Gateway(
        installation.settings.gateway,
        installation.database,
        installation.objects,
        routes=routes_of_site(installation),
        retention=installation.settings.retention,
        only_receives=only_receives,
    )
    with contextlib.ExitStack() as stack:
        if not only_receives:
            stack.enter_context(sealing_thread(installation, "gateway"))
            stack.enter_context(forwarding_thread(installation))
        process.start()
        exempt_what_is_there()
        interruption.stop.wait()
        process.stop()


def relay(state: Path, *, file: Path | None) -> None:
    """Run the relay until told to stop."""
    from console.history.log_key import sealing_thread
    from workers.queue.app import make_app
    from workers.queue.publisher import Publisher
    from workers.queue.relay import Relay

    interruption = Interruption.armed()
    place = _place(state, file)
    process_id = f"relay-{socket.gethostname()[:24]}-{uuid.uuid4().hex[:12]}"
    publisher = Publisher(make_app(place.workers))
    with sealing_thread(open_installation(state.resolve(), file=file), "relay"):
        Relay(place.open_database(), publisher, place.workers, process_id=process_id).run(interruption.stop)


def worker(state: Path, *, file: Path | None) -> None:
    """Run one supervised worker until told to stop."""
    from workers.queue.app import make_app
    from workers.queue.publisher import Publisher
    from workers.queue.supervisor import Supervisor

    interruption = Interruption.armed()
    place = _place(state, file)
    publisher = Publisher(make_app(place.workers))
    try:
        Supervisor(place, broker_answers=publisher.answers).run(interruption.stop)
    finally:
        publisher.close()


def console(state: Path, *, file: Path | None) -> None:
    """Serve the pages and the API until told to stop."""
    import uvicorn

    from console.app import create_app
    from console.serving import RestingServer

    installation = _opened(state, file)
    settings = installation.settings.console
    if not settings.is_on_loopback and not settings.allow_remote:
        raise ConfigurationError(
            f"console.host is {settings.host}, and tokens travel as they are: put a proxy with TLS in front, "
            "then set console.allow_remote"
        )
    gateway = installation.settings.gateway
    app = create_app(
        installation.database, installation.objects, settings, destinations=gateway.destinations, gateway=gateway
    )
    # Requests are not logged: their addresses and times would be a second, unguarded audit trail.
    RestingServer(
        uvicorn.Config(
            app, host=settings.host, port=settings.port, access_log=False, log_config=None, server_header=False
        ),
        on_stop=app.state.stop_storing,
    ).run()


def _place(state: Path, file: Path | None) -> WorkerPlace:
    """Return where a worker or a relay works, with the broker that it talks to."""
    from console.broker import with_broker
    from workers.queue.child import WorkerPlace

    installation = _opened(state, file)
    settings = with_broker(installation.settings.worker, installation.state)
    return WorkerPlace(settings, installation.settings.storage, installation.state, prepare=logs.configure)


def _opened(state: Path, file: Path | None, flags: Layer | None = None) -> Installation:
    """Open an installation whose database another command has prepared, and set up logging."""
    logs.configure()
    installation = open_installation(state.resolve(), file=file, flags=flags)
    installation.require()
    revisions.require_expected(installation.database)
    installation.objects.prepare()
    return installation
