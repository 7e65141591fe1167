"""What the roles of a database may do that they should not, and what they lack."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.roles.rights import FUNCTIONS, Right, Role, rights, tables

_GRANTED = text(
    """
    SELECT r.rolname, c.relname, a.privilege_type, '' FROM pg_class c, aclexplode(c.relacl) a, pg_roles r
    WHERE r.oid = a.grantee AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT r.rolname, c.relname, a.privilege_type, t.attname
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a, pg_roles r
    WHERE r.oid = a.grantee AND c.relnamespace = current_schema()::regnamespace
    UNION ALL
    SELECT r.rolname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', a.privilege_type, ''
    FROM pg_proc p, aclexplode(p.proacl) a, pg_roles r
    WHERE r.oid = a.grantee AND p.pronamespace = current_schema()::regnamespace
    """
)
_PUBLIC = text(
    """
    SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
    WHERE a.grantee = 0 AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT p.proname, a.privilege_type FROM pg_proc p, aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) a
    WHERE a.grantee = 0 AND p.pronamespace = current_schema()::regnamespace
    """
)
_OWNERS = text(
    """
    SELECT relname, relowner::regrole::text FROM pg_class
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
    """
)
_ATTRIBUTES = text(
    """
    SELECT rolname, rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls,
           pg_has_role(oid, CAST(:owner AS name), 'MEMBER')
    FROM pg_roles WHERE rolname = ANY(:names)
    """
)


def differences(session: Session, prefix: str) -> tuple[str, ...]:
    """Return in short texts where the database is not as the roles' grants say; none where it is."""
    names = {role.named(prefix): role for role in Role}
    found = tuple(_missing_or_mighty(session, names))
    if found:
        return found
    return (*_other_owners(session, Role.MIGRATE.named(prefix)), *_other_rights(session, names), *_public(session))


def _missing_or_mighty(session: Session, names: dict[str, Role]) -> Iterator[str]:
    present = set(
        session.scalars(text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"), {"names": [*names]})
    )
    yield from (f"there is no role {name}" for name in names if name not in present)
    owner = next(name for name, role in names.items() if role is Role.MIGRATE)
    if owner not in present:
        return
    for name, mighty, is_owner in session.execute(_ATTRIBUTES, {"names": [*names], "owner": owner}):
        if mighty:
            yield f"{name} is a superuser, or may make roles, replicate or pass by row security"
        if is_owner and name != owner:
            yield f"{name} is a member of {owner}, who may do everything"


def _other_owners(session: Session, owner: str) -> Iterator[str]:
    for table, found in session.execute(_OWNERS):
        if found != owner and (table in tables() or table.startswith("audit_events_")):
            yield f"{table} belongs to {found}, not to {owner}"


def _other_rights(session: Session, names: dict[str, Role]) -> Iterator[str]:
    arguments = {_without_names(function): function for function in FUNCTIONS}
    held = set()
    for name, target, privilege, column in session.execute(_GRANTED):
        role = names.get(name)
        if role is not None and role is not Role.MIGRATE:
            held.add(Right(role, arguments.get(target.partition("(")[0], target), privilege, column))
    named = {role: name for name, role in names.items()}
    yield from (f"{named[right.role]} lacks {right}" for right in sorted(rights() - held))
    yield from (f"{named[right.role]} has {right}" for right in sorted(held - rights()))


def _public(session: Session) -> Iterator[str]:
    guarded = {*tables(), *map(_without_names, FUNCTIONS)}
    for target, privilege in session.execute(_PUBLIC):
        if target in guarded or target.startswith("audit_events_"):
            yield f"everybody has {privilege} on {target}"


def _without_names(function: str) -> str:
    return function.partition("(")[0]
