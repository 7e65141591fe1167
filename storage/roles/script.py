"""The statements that make the roles, give them what is theirs, and take away what is not."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import DatabaseRolesRefused
from storage.roles.rights import DEFAULT_PREFIX, FUNCTIONS, Role, checked_prefix, is_prefix, rights, tables


def script(prefix: str = DEFAULT_PREFIX, schema: str = "public") -> tuple[str, ...]:
    """Return the statements that make the roles, give them the schema and grant their rights; twice does no harm.

    Whoever runs them may make roles and owns the tables, or is a superuser. Raises ConfigurationError for a prefix
    that would need quoting.
    """
    checked_prefix(prefix)
    owner = Role.MIGRATE.named(prefix)
    made = [
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role.named(prefix)}') "
        f"THEN CREATE ROLE {role.named(prefix)} NOLOGIN; END IF; END $$"
        for role in Role
    ]
    return (*made, *_given_to(owner, schema), *grants(prefix, schema))


def grants(prefix: str, schema: str = "public") -> tuple[str, ...]:
    """Return the statements that grant the roles' rights and take all others away; the tables' owner runs them."""
    others = ", ".join(role.named(prefix) for role in Role if role is not Role.MIGRATE)
    taken = (f"REVOKE ALL ON {table} FROM PUBLIC, {others}" for table in tables())
    closed = (f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC, {others}" for function in FUNCTIONS)
    return (
        f'GRANT USAGE ON SCHEMA "{schema}" TO {others}',
        *taken,
        *closed,
        _for_each_part(f"REVOKE ALL ON %s FROM PUBLIC, {others}"),
        *_granted(prefix),
        _sequences(Role.APP.named(prefix)),
    )


def create(database: Database, prefix: str = DEFAULT_PREFIX) -> None:
    """Make the roles in the database and grant their rights, all or nothing. Raises DatabaseRolesRefused."""
    require_postgresql(database)
    with database.write() as session:
        for statement in script(prefix, _schema(session)):
            session.execute(text(statement))


def grant_anew(database: Database) -> None:
    """Grant the rights again where the database has roles: a migration may have made tables."""
    if database.engine.dialect.name != "postgresql":
        return
    with database.write() as session:
        prefix = prefix_of(session)
        if prefix is not None and session.scalar(
            text("SELECT pg_has_role(:owner, 'USAGE')"), {"owner": f"{prefix}_migrate"}
        ):
            for statement in grants(prefix, _schema(session)):
                session.execute(text(statement))


def prefix_of(session: Session) -> str | None:
    """Return the prefix of the roles that this database was given to, None where it was not."""
    owner = session.scalar(text("SELECT relowner::regrole::text FROM pg_class WHERE oid = to_regclass('audit_events')"))
    suffix = f"_{Role.MIGRATE.value}"
    prefix = str(owner or "").removesuffix(suffix)
    return prefix if str(owner or "").endswith(suffix) and is_prefix(prefix) else None


def require_postgresql(database: Database) -> None:
    """Raise DatabaseRolesRefused where the database knows no roles."""
    if database.engine.dialect.name != "postgresql":
        raise DatabaseRolesRefused(
            "SQLite has no roles: whoever can write the file can write all of it; roles need PostgreSQL "
            "(storage.database_url)"
        )


def _schema(session: Session) -> str:
    return str(session.scalar(text("SELECT current_schema()")))


def _given_to(owner: str, schema: str) -> Iterator[str]:
    """Yield what makes the group the owner of all that oncue made, months that were detached among it."""
    # Only a member may hand something over; a superuser is one of every role.
    yield f"DO $$ BEGIN IF NOT pg_has_role('{owner}', 'MEMBER') THEN GRANT {owner} TO CURRENT_USER; END IF; END $$"
    yield f'REVOKE CREATE ON SCHEMA "{schema}" FROM PUBLIC'
    yield f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO {owner}'
    yield from (f"ALTER TABLE {table} OWNER TO {owner}" for table in tables())
    yield from (f"ALTER FUNCTION {function} OWNER TO {owner}" for function in FUNCTIONS)
    yield _for_each_part(f"ALTER TABLE %s OWNER TO {owner}")


def _for_each_part(statement: str) -> str:
    """Return what runs a statement for each month of events, attached or not."""
    return (
        "DO $$ DECLARE part regclass; BEGIN FOR part IN SELECT oid FROM pg_class "  # noqa: S608 # our own words
        "WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname LIKE 'audit\\_events\\_%' "
        f"LOOP EXECUTE format('{statement}', part); END LOOP; END $$"
    )


def _granted(prefix: str) -> Iterator[str]:
    grouped: dict[tuple[Role, str, str], list[str]] = {}
    for right in sorted(rights()):
        grouped.setdefault((right.role, right.target, right.privilege), []).append(right.column)
    for (role, target, privilege), columns in grouped.items():
        kind = "FUNCTION " if target in FUNCTIONS else ""
        listed = ", ".join(column for column in columns if column)
        yield f"GRANT {privilege}{f' ({listed})' if listed else ''} ON {kind}{target} TO {role.named(prefix)}"


def _sequences(app: str) -> str:
    """Return what lets the application number new rows; the numbers of events are not its business."""
    return (
        "DO $$ DECLARE one regclass; BEGIN FOR one IN SELECT s.oid "  # noqa: S608 # our own words
        "FROM pg_class s JOIN pg_depend d ON d.objid = s.oid "
        "AND d.classid = 'pg_class'::regclass AND d.deptype = 'a' "
        "WHERE s.relnamespace = current_schema()::regnamespace AND s.relkind = 'S' "
        f"LOOP EXECUTE format('GRANT USAGE ON SEQUENCE %s TO {app}', one); END LOOP; END $$"
    )
