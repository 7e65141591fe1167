"""Fixture of the roles' tests: a migrated PostgreSQL database of one test's own, with roles."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.database_roles import DatabaseWithRoles, fresh_database, with_roles


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """URL of a fresh, migrated PostgreSQL database."""
    with fresh_database(postgresql_server, postgresql_template) as url:
        yield url


@pytest.fixture
def roles(postgresql_url: str) -> Iterator[DatabaseWithRoles]:
    """Return such a database with roles and a login for each."""
    with with_roles(postgresql_url) as made:
        yield made
