"""Alembic's entry: runs on the connection that ``storage.migrate`` hands over, one transaction per migration."""

from __future__ import annotations

from alembic import context

from storage.fewshot.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    render_as_batch=connection.dialect.name == "sqlite",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
