"""What an event says beside its columns, as texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Details:
    """The details of an event by name, each as text; what is null is left out."""

    values: Mapping[str, str]

    @classmethod
    def read(cls, text: str) -> Details:
        """Return the details that an event's JSON text holds."""
        return cls({name: _written(value) for name, value in json.loads(text).items() if value is not None})

    def text(self, name: str) -> str | None:
        """Return one detail, None where there is none of this name."""
        return self.values.get(name)


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
