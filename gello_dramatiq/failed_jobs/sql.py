"""Failed jobs in a SQL database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from ..database.engine import Database
from ..outcome import Reason
from .record import FailedJob, Filter, shown_payload

CHUNK = 1000
"""Rows that are dropped in one transaction."""


class SqlFailedJobs:
    """Keeps failed jobs in the `failed_jobs` table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.tables.failed

    def add(self, job: FailedJob) -> None:
        table = self._table

        def replace(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.id == job.id))
            connection.execute(table.insert(), columns(job))

        try:
            self._database.transact(replace)
        except IntegrityError:
            # Another was added between the two; that is committed by now, and found.
            self._database.transact(replace)

    def all(self, wanted: Filter, limit: int | None, offset: int) -> list[FailedJob]:
        table = self._table
        query: Select[Any] = select(table).where(self._matching(wanted))
        query = query.order_by(table.c.failed_at.desc(), table.c.id.desc()).limit(limit).offset(offset)
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(query)]

    def find(self, id: str) -> FailedJob | None:
        with self._database.read() as connection:
            row = connection.execute(select(self._table).where(self._table.c.id == id)).first()
        return None if row is None else _job(row)

    def forget(self, id: str, generation: str | None = None) -> bool:
        table = self._table
        this = table.c.id == id
        if generation is not None:
            this &= table.c.generation == generation
        return self._database.transact(lambda connection: connection.execute(delete(table).where(this)).rowcount == 1)

    def prune(self, wanted: Filter) -> int:
        table = self._table
        chunk = select(table.c.id).where(self._matching(wanted)).limit(CHUNK)

        def drop(connection: Connection) -> tuple[int, int]:
            ids = list(connection.scalars(chunk))
            return len(ids), connection.execute(delete(table).where(table.c.id.in_(ids))).rowcount if ids else 0

        dropped, found = 0, CHUNK
        # What fails meanwhile doesn't fill a chunk, and another prune may drop a full one first.
        while found == CHUNK:
            found, gone = self._database.transact(drop)
            dropped += gone
        return dropped

    def count(self, wanted: Filter) -> int:
        query = select(func.count()).select_from(self._table).where(self._matching(wanted))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def _matching(self, wanted: Filter) -> ColumnElement[bool]:
        table = self._table
        tests: list[ColumnElement[bool]] = []
        for name in ("queue", "name", "reason"):
            value = getattr(wanted, name)
            if value is not None:
                tests.append(table.c[name] == value)
        if wanted.since is not None:
            tests.append(table.c.failed_at >= _millis(wanted.since))
        if wanted.before is not None:
            tests.append(table.c.failed_at < _millis(wanted.before))
        if wanted.text is not None:
            places = (table.c.name, table.c.exception, table.c.traceback, table.c.payload)
            tests.append(or_(*(place.icontains(wanted.text, autoescape=True) for place in places)))
        return and_(True, *tests)


def columns(job: FailedJob) -> dict[str, Any]:
    """A failed job as the columns of its row."""
    return {
        "id": job.id,
        "queue": job.queue,
        "name": job.name,
        "message": job.message,
        "generation": job.generation,
        "reason": job.reason.value,
        "exception": job.exception,
        "traceback": job.traceback,
        "attempts": json.dumps(job.attempts),
        "payload": shown_payload(job),
        "failed_at": _millis(job.failed_at),
    }


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _job(row: Any) -> FailedJob:
    return FailedJob(
        id=row.id,
        queue=row.queue,
        name=row.name,
        reason=Reason(row.reason),
        exception=row.exception,
        traceback=row.traceback,
        attempts=tuple(json.loads(row.attempts)),
        failed_at=datetime.fromtimestamp(row.failed_at / 1000, UTC),
        message=row.message,
        generation=row.generation,
    )
