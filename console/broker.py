"""Which broker the processes of an installation talk to: a configured one, or the one that `oncue up` runs."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from storage.errors import ConfigurationError
from workers.config import WorkerSettings
from workers.queue.embedded_redis import read_endpoint

BROKER_FOLDER = "broker"


def with_broker(settings: WorkerSettings, state: Path) -> WorkerSettings:
    """Return the settings with a broker URL; ConfigurationError where none is set and `oncue up` never ran here."""
    if settings.broker_url.get_secret_value():
        return settings
    endpoint = read_endpoint(state / BROKER_FOLDER)
    if endpoint is None:
        raise ConfigurationError(
            "no broker: set worker.broker_url (ONCUE_WORKER_BROKER_URL), or run `oncue up` on this state folder"
        )
    return settings.model_copy(update={"broker_url": SecretStr(endpoint.url)})
