"""Triggers that refuse a row: the same condition on SQLite and PostgreSQL, each in its own words.

Frozen like a migration: what is released stays.
"""

from __future__ import annotations

from alembic import op

# One function for all guards; 23514 is what a violated CHECK says, so both databases raise the same kind of error.
_REFUSE = """
CREATE OR REPLACE FUNCTION store_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = '23514'; END $$
"""


def create_guard(table: str, event: str, forbidden: str, rule: str) -> None:
    """Refuse rows of a table.

    Args:
        table: The table.
        event: UPDATE or INSERT.
        forbidden: SQL of OLD and NEW that is true for a row to refuse.
        rule: What the error says.
    """
    trigger = f"CREATE TRIGGER guard_{table}_{event.lower()} BEFORE {event} ON {table} FOR EACH ROW"
    message = f"'guard of {table}: {rule}'"
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE)
        op.execute(f"{trigger} WHEN ({forbidden}) EXECUTE FUNCTION store_refuse({message})")
    else:
        op.execute(f"{trigger} WHEN {forbidden} BEGIN SELECT RAISE(ABORT, {message}); END")


def drop_guard(table: str, event: str) -> None:
    """Take one guard away."""
    on = f" ON {table}" if op.get_bind().dialect.name == "postgresql" else ""
    op.execute(f"DROP TRIGGER guard_{table}_{event.lower()}{on}")


def drop_guards() -> None:
    """Clean up when the last guarded table is gone."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION store_refuse()")
