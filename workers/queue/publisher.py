"""The relay's end of the broker: hand over job numbers, and notice where messages have been lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import ChannelError  # type: ignore[import-untyped]  # amqp carries no types
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from storage.domain import Lane
from workers.errors import BrokerUnavailable
from workers.queue.app import ANALYSE, DEFAULT_POOL, FIT, queue_name

FIT_LANE = Lane.BATCH
"""Fit requests share the lane with the lowest weight, so that they never hold up a study that is read today."""
_MARKER = "oncue:relay:marker"
_NOT_FOUND = "404"  # kombu gives it as text, a real AMQP broker as a number


class Publisher:
    """One connection to the broker, opened when needed and again after every failure. BrokerUnavailable from all."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Any = None  # kombu's Connection, which carries no types

    def publish(self, job_id: int, lane: Lane, *, pool: str = DEFAULT_POOL) -> None:
        """Send the message of one job into its lane of a pool of workers."""
        name = queue_name(lane, pool)
        with self._connected() as connection, connection.Producer() as producer:
            # The queue of a pool that no setting of this process names: the relay serves them all.
            queue = Queue(name, Exchange(name), routing_key=name)  # type: ignore[no-untyped-call]  # kombu is untyped
            self._app.send_task(ANALYSE, args=[job_id], queue=queue, producer=producer, retry=False)

    def publish_fit(self, request_id: int) -> None:
        """Send the message of one fit request into the lane that waits for every other."""
        with self._connected() as connection, connection.Producer() as producer:
            self._app.send_task(FIT, args=[request_id], queue=FIT_LANE.value, producer=producer, retry=False)

    def is_empty(self, lane: Lane, *, pool: str = DEFAULT_POOL) -> bool:
        """Say whether no message of a lane waits with the broker."""
        with self._connected() as connection:
            try:
                return bool(
                    connection.default_channel.queue_declare(queue_name(lane, pool), passive=True).message_count == 0
                )
            except ChannelError as error:
                if str(error.reply_code) != _NOT_FOUND:
                    raise
                return True

    def has_forgotten(self) -> bool:
        """Say whether Redis lost everything since ``remember``: our marker is gone.

        Also True for a Redis never seen before. Always False for other brokers, which keep their queues or say so.
        """
        with self._connected() as connection:
            if connection.transport.driver_type != "redis":
                return False
            client = connection.default_channel.client
            return not client.exists(_MARKER)

    def remember(self) -> None:
        """Leave our marker with Redis: what it had lost until now is published again."""
        with self._connected() as connection:
            if connection.transport.driver_type == "redis":
                connection.default_channel.client.set(_MARKER, uuid.uuid4().hex)

    def answers(self) -> bool:
        """Say whether the broker can be reached."""
        try:
            with self._connected() as connection:
                connection.default_channel.queue_declare(Lane.ROUTINE.value, passive=False)
        except BrokerUnavailable:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            if self._connection is None:
                self._connection = self._app.connection_for_write(transport_options=self._options())
            yield self._connection
        except (OperationalError, RedisError, OSError) as error:
            self.close()
            raise BrokerUnavailable(
                f"the broker did not answer ({type(error).__name__}); check that Redis runs and the URL is right"
            ) from error

    def _options(self) -> dict[str, object]:
        # By default kombu tries for ever; the relay has other work to do meanwhile and comes back by itself.
        return {
            **self._app.conf.broker_transport_options,
            "max_retries": 0,
            "interval_start": 0,
            "socket_timeout": 5,
        }
