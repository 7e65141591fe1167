"""A PostgreSQL database with its roles, and logins that are members of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import create_engine, make_url, text

from storage.database import Database, connect
from storage.roles import script
from storage.roles.rights import Role


@dataclass(frozen=True, slots=True)
class DatabaseWithRoles:
    """The database as its maker sees it, its URL, and the prefix of its roles' names."""

    owner: Database
    url: str
    prefix: str

    def url_of(self, role: Role) -> str:
        """Return the URL of a login that is a member of the role and of nothing else."""
        return make_url(self.url).set(username=f"{role.named(self.prefix)}_login").render_as_string(hide_password=False)

    @contextmanager
    def as_role(self, role: Role) -> Iterator[Database]:
        """Open the database as a member of the role."""
        database = connect(self.url_of(role))
        yield database
        database.dispose()


@contextmanager
def fresh_database(server: str, template: str) -> Iterator[str]:
    """Copy a migrated database, give its URL, and drop it at the end."""
    name = f"roles_{uuid.uuid4().hex}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def with_roles(url: str) -> Iterator[DatabaseWithRoles]:
    """Make roles of a name of their own in a database, with a login each; at the end the database has none again."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    owner = connect(url)
    script.create(owner, prefix)
    groups = [role.named(prefix) for role in Role]
    _execute(url, *(f"CREATE ROLE {group}_login LOGIN IN ROLE {group}" for group in groups))
    yield DatabaseWithRoles(owner, url, prefix)
    owner.dispose()
    left = ", ".join(group for name in groups for group in (f"{name}_login", name))
    _execute(url, f"REASSIGN OWNED BY {left} TO CURRENT_USER", f"DROP OWNED BY {left}", f"DROP ROLE {left}")


def _execute(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
