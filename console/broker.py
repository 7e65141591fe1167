"""Which broker the processes of an installation talk to: a configured one, or the one that `oncue up` runs."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import SecretStr

from storage.errors import ConfigurationError
from workers.config import WorkerSettings
from workers.queue.embedded_redis import RedisEndpoint

BROKER_FOLDER = "broker"
_ENDPOINT_FILE = "endpoint.json"


def with_broker(settings: WorkerSettings, state: Path) -> WorkerSettings:
    """Return the settings with a broker URL; ConfigurationError where none is set and `oncue up` never ran here."""
    if settings.broker_url.get_secret_value():
        return settings
    try:
        endpoint = RedisEndpoint(**json.loads((state / BROKER_FOLDER / _ENDPOINT_FILE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            "no broker: set worker.broker_url (ONCUE_WORKER_BROKER_URL), or run `oncue up` on this state folder"
        ) from error
    return settings.model_copy(update={"broker_url": SecretStr(endpoint.url)})
