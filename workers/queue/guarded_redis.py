"""The Redis transport with a guard: what is no message of ours is dropped before kombu or Celery take it apart.

Messages are acknowledged from the threads that did the work, and each acknowledgement makes room for another message.
kombu decodes what lay in a list without expecting anything else there: garbage would end the worker, and Celery would
write the body of what it does not know into the log.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.asynchronous import get_event_loop
from kombu.transport.redis import Channel, QoS, Transport

from workers.queue.message_form import MessageFault, fault_of

TRANSPORT = f"{__name__}:GuardedTransport"
"""The transport as Celery's setting ``broker_transport`` names it."""
TASKS_OPTION = "oncue_tasks"
"""Transport option: the names of the tasks whose messages pass."""

log = structlog.get_logger(__name__)


class WakingQoS(QoS):
    """Counts the messages in hand, and has the worker ask for the next one as soon as one is done."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; the worker's loop may be asleep for seconds with nothing to ask for."""
        super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu is untyped
        hub = get_event_loop()
        if hub is not None:
            hub.call_soon(_nothing)  # type: ignore[no-untyped-call]  # as above


class GuardedChannel(Channel):
    """A channel whose client drops what is no message of ours."""

    QoS = WakingQoS

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call]  # kombu is untyped
        tasks = self.connection.client.transport_options.get(TASKS_OPTION, ())
        parse = client.parse_response

        def parse_guarded(connection: Any, command_name: str, **options: Any) -> Any:
            answer = parse(connection, command_name, **options)
            if command_name != "BRPOP" or not answer:
                return answer
            fault = fault_of(answer[1], tasks)
            if fault is None:
                return answer
            _note(fault, len(answer[1]))
            # As if the wait had ended without a message: the item has left its list, and the next wait begins.
            return None

        client.parse_response = parse_guarded
        return client


class GuardedTransport(Transport):
    """kombu's Redis transport with the guarded channel."""

    Channel = GuardedChannel


def _nothing() -> None:
    """Do nothing but wake the loop."""


def _note(fault: MessageFault, size: int) -> None:
    """Log that a message was dropped, without a word of what was in it."""
    log.warning("message.dropped", code=fault.value, bytes=size)
