"""Alembic's entry: runs on the connection that ``storage.migrate`` hands over, in the transaction that it holds."""

from __future__ import annotations

from alembic import context

from storage.schema import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()
