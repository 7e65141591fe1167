"""Fixture of the roles' tests: a migrated PostgreSQL database of one test's own, with roles."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.support.database_roles import DatabaseWithRoles, with_roles


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """URL of a fresh, migrated PostgreSQL database."""
    name = f"roles_{uuid.uuid4().hex}"
    server = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{postgresql_template}"'))
    yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


@pytest.fixture
def roles(postgresql_url: str) -> Iterator[DatabaseWithRoles]:
    """Return such a database with roles and a login for each."""
    with with_roles(postgresql_url) as made:
        yield made
