"""Who may do what: tokens, of which only a hash is kept, and the audit of what was done."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update

from service.errors import InvalidSpecError, NotFoundError
from service.store.database import Database, new_id
from service.store.rows import check_length
from service.store.service_records import Actor, AuditRecord, TokenRecord
from service.store.service_tables import AuditRow, TokenRow
from service.store.states import Role

_PREFIX = "tl_"  # a secret that is found somewhere says whose it is
_NUM_BYTES = 32
_USE_PERIOD = timedelta(minutes=1)


class Tokens(Database):
    """What the store knows about who asks."""

    def create_token(
        self, name: str, owner: str, role: Role, expires_at: datetime | None = None, *, by: Actor | None = None
    ) -> tuple[TokenRecord, str]:
        """Make a token.

        Args:
            name: For people.
            owner: Whose jobs its bearer may see.
            role: What its bearer may do.
            expires_at: It is good until then; None: until it is revoked.
            by: Who asks.

        Returns:
            The record, and the secret: `tl_` and 43 characters. It is not kept, and cannot be asked for again.

        Raises:
            InvalidSpecError: The name or the owner is empty or longer than 100 characters, or the end is past.
        """
        check_length("name", name, 100)
        check_length("owner", owner, 100)
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise InvalidSpecError(
                f"a token ends in the future, got {expires_at.isoformat()}: choose a later moment",
                field="expires_at",
            )
        secret = _PREFIX + secrets.token_urlsafe(_NUM_BYTES)
        row = TokenRow(
            id=new_id(now),
            name=name,
            owner=owner,
            role=Role(role),
            hash=_hash(secret),
            created_at=now,
            expires_at=expires_at,
        )
        with self._writing() as session:
            session.add(row)
            self._audit(session, by, "token.create", detail={"token": row.id, "for": owner, "role": row.role})
            session.flush()
            return _token_record(row), secret

    def authenticate(self, secret: str) -> TokenRecord | None:
        """Say whose secret it is; None for one that is unknown, expired or revoked.

        Its last use is written at most once a minute.
        """
        now = self._clock()
        with self._asking() as session:
            row = session.scalars(select(TokenRow).where(TokenRow.hash == _hash(secret))).one_or_none()
            if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
                return None
            token = _token_record(row)
        if token.last_used_at is None or token.last_used_at <= now - _USE_PERIOD:
            long_ago = or_(TokenRow.last_used_at.is_(None), TokenRow.last_used_at <= now - _USE_PERIOD)
            with self._writing() as session:
                session.execute(update(TokenRow).where(TokenRow.id == token.id, long_ago).values(last_used_at=now))
        return token

    def tokens(self, owner: str | None = None) -> tuple[TokenRecord, ...]:
        """List the tokens, newest first; those of one owner only."""
        query = select(TokenRow).order_by(TokenRow.id.desc())
        if owner is not None:
            query = query.where(TokenRow.owner == owner)
        with self._reading() as session:
            return tuple(_token_record(row) for row in session.scalars(query))

    def revoke_token(self, token_id: str, *, by: Actor | None = None) -> TokenRecord:
        """End a token for good, from this moment on; one that was revoked before stays so.

        Raises:
            NotFoundError: No token has the id.
        """
        with self._writing() as session:
            row = session.get(TokenRow, token_id, with_for_update=True)
            if row is None:
                raise NotFoundError(f"no token has the id {token_id!r}: `tuneladder token list` shows them")
            if row.revoked_at is None:
                row.revoked_at = self._now(session)
                self._audit(session, by, "token.revoke", detail={"token": row.id, "for": row.owner})
                session.flush()
            return _token_record(row)

    def record_audit(
        self,
        owner: str,
        token_id: str | None,
        action: str,
        job_id: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Put on record that somebody did what is no change of the store, such as reading another one's job."""
        with self._writing() as session:
            self._audit(session, Actor(owner=owner, token_id=token_id), action, job_id, detail)

    def audit(
        self, *, limit: int = 100, after: int | None = None, owner: str | None = None, job_id: str | None = None
    ) -> tuple[AuditRecord, ...]:
        """List what was done, newest first.

        Args:
            limit: At most this many.
            after: The last id of the page before.
            owner: Only what this owner did.
            job_id: Only what was done to this job.
        """
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
        if after is not None:
            query = query.where(AuditRow.id < after)
        if owner is not None:
            query = query.where(AuditRow.owner == owner)
        if job_id is not None:
            query = query.where(AuditRow.job_id == job_id)
        with self._reading() as session:
            return tuple(_audit_record(row) for row in session.scalars(query))


def _hash(secret: str) -> str:
    """32 random bytes cannot be guessed, so one round of SHA-256 is enough: there is no password to stretch."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _token_record(row: TokenRow) -> TokenRecord:
    return TokenRecord(
        id=row.id,
        name=row.name,
        owner=row.owner,
        role=Role(row.role),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def _audit_record(row: AuditRow) -> AuditRecord:
    return AuditRecord(
        id=row.id,
        at=row.at,
        owner=row.owner,
        token_id=row.token_id,
        action=row.action,
        job_id=row.job_id,
        detail=row.detail,
    )
