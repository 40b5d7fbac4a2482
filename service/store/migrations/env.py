"""What Alembic runs: it is handed an open connection, in a transaction that belongs to the caller."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,  # SQLite alters a table by writing it again
)
with context.begin_transaction():
    context.run_migrations()
