"""Orders to fit and to evaluate travel as messages: when one was published, and a token against late writers.

Hashes of look-alikes become longer; SQLite keeps to no length.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("classification_orders", schema=None) as batch_op:
        batch_op.add_column(sa.Column("token", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("published_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("classification_orders", schema=None) as batch_op:
        batch_op.alter_column("token", existing_type=sa.Integer(), server_default=None)
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("classification_items", "look_alike", existing_type=sa.String(16), type_=sa.String(128))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "classification_items",
            "look_alike",
            existing_type=sa.String(128),
            type_=sa.String(16),
            postgresql_using="CASE WHEN length(look_alike) > 16 THEN '' ELSE look_alike END",
        )
    with op.batch_alter_table("classification_orders", schema=None) as batch_op:
        batch_op.drop_column("published_at")
        batch_op.drop_column("token")
