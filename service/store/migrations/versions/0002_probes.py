"""Short trainings before the search that are no trials: what they found out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create their table."""
    op.create_table(
        "probes",
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True)),
        sa.Column("message", sa.Text()),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name=op.f("pk_probes")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_probes_job_id"), ondelete="CASCADE"),
        sa.CheckConstraint("kind IN ('overfit', 'lr_range')", name=op.f("ck_probes_kind")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("probes")
