"""What each role may do with each table and function, written down once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from storage.errors import ConfigurationError
from storage.schema import METADATA

DEFAULT_PREFIX = "oncue"
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,40}")
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")


class Role(StrEnum):
    """What a login may be in the database; the value ends the name of the group."""

    MIGRATE = "migrate"
    APP = "app"
    AUDITOR = "auditor"
    RETENTION = "retention"

    def named(self, prefix: str) -> str:
        """Return the name of the group."""
        return f"{prefix}_{self.value}"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that a role may do: with a table, with a column of one, or with a function (``EXECUTE``)."""

    role: Role
    target: str
    privilege: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.privilege} on {self.target}" + (f" ({self.column})" if self.column else "")


FUNCTIONS: Mapping[str, tuple[Role, ...]] = {
    "audit_events_refuse()": (),
    "audit_events_note()": (),
    "audit_note_archive(text, text, text, text)": (),
    "audit_words(text)": (Role.APP, Role.AUDITOR),
    "classification_refuse()": (),
    "audit_note_reading(text, text, text)": (Role.AUDITOR, Role.RETENTION),
    "audit_make_partition(date, bigint)": (Role.APP,),
    "audit_archive_month(date, bigint, text, text, text, boolean)": (Role.RETENTION,),
}
"""The functions of the schema, and who may call them beside their owner."""

_VERSION = "alembic_version"
_CHOSEN_BY_THE_DATABASE = "seq"
_APP: Mapping[str, tuple[str, ...]] = {
    "audit_events": ("SELECT",),
    "audit_leaves": ("SELECT", "INSERT"),
    "audit_pending": ("SELECT", "DELETE"),
    "audit_log": ("SELECT",),
    "audit_archives": ("SELECT",),
    _VERSION: ("SELECT",),
}
"""Tables with which the application may do less than everything; on some of them it may write some columns."""
_APP_COLUMNS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("audit_log", "UPDATE"): ("size", "lease_owner", "lease_expires_at"),
    ("audit_events", "INSERT"): tuple(
        column.name for column in METADATA.tables["audit_events"].columns if column.name != _CHOSEN_BY_THE_DATABASE
    ),
}
_READ_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "studies": ("id", "study_instance_uid", "patient_key"),
    "jobs": ("id", "study_id"),
}
"""What leads from numbers that people use to the studies that events name; patients stay out of it."""


def tables() -> tuple[str, ...]:
    """Return the tables of the schema, with the one that holds its revision."""
    return (*sorted(METADATA.tables), _VERSION)


def rights() -> frozenset[Right]:
    """Return everything that roles are allowed; the owner is not among them, it may do all."""
    return frozenset((*_rights_of_the_app(), *_rights_of_readers(), *_rights_to_call()))


def _rights_of_the_app() -> Iterator[Right]:
    for table in tables():
        yield from (Right(Role.APP, table, privilege) for privilege in _APP.get(table, _ALL))
    for (table, privilege), columns in _APP_COLUMNS.items():
        yield from (Right(Role.APP, table, privilege, column) for column in columns)


def _rights_of_readers() -> Iterator[Right]:
    for role in (Role.AUDITOR, Role.RETENTION):
        yield from (Right(role, table, "SELECT") for table in tables() if table.startswith("audit_"))
        yield Right(role, _VERSION, "SELECT")
    for table, columns in _READ_COLUMNS.items():
        yield from (Right(Role.AUDITOR, table, "SELECT", column) for column in columns)


def _rights_to_call() -> Iterator[Right]:
    for function, roles in FUNCTIONS.items():
        yield from (Right(role, function, "EXECUTE") for role in roles)


def checked_prefix(prefix: str) -> str:
    """Return a prefix of role names. Raises ConfigurationError where it is none."""
    if not is_prefix(prefix):
        raise ConfigurationError(
            "the prefix of the roles' names begins with a small letter, and has small letters, digits and _ alone"
        )
    return prefix


def is_prefix(text: str) -> bool:
    """Say whether role names may begin with a text: those that need no quoting."""
    return _PREFIX.fullmatch(text) is not None
