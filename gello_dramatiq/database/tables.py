"""Gello's tables. `metadata()` is for people who keep their schema with Alembic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from ..errors import InvalidSetting

READY, DELAYED, RESERVED = 0, 1, 2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")
_ID = BigInteger().with_variant(Integer, "sqlite")


@dataclass(frozen=True)
class Tables:
    """The tables under one prefix and schema.

    Times are milliseconds of the epoch by the database's clock.
    """

    metadata: MetaData
    jobs: Table
    failed: Table
    workers: Table
    migrations: Table


def tables(prefix: str = "", schema: str | None = None) -> Tables:
    """Describe the tables.

    Parameters:
      prefix: What their names begin with: "acme_" makes "acme_queue_jobs".
      schema: Where they stand; the database's default when it is None.

    Raises:
      InvalidSetting: The prefix or schema is no plain name.
    """
    for part in (prefix, schema):
        if part and not _NAME.fullmatch(part):
            raise InvalidSetting(f"{part!r} can't be part of a table's name: letters, digits and '_', 31 at most.")
    metadata = MetaData(schema=schema)
    jobs = _jobs(metadata, prefix)
    failed = Table(
        f"{prefix}failed_jobs",
        metadata,
        Column("id", String(64), primary_key=True),
        Column("generation", String(36), nullable=False),
        Column("queue", String(128), nullable=False),
        Column("name", String(191), nullable=False),
        Column("reason", String(20), nullable=False),
        Column("exception", Text, nullable=False),
        Column("traceback", Text, nullable=False),
        Column("attempts", Text, nullable=False),
        Column("payload", Text, nullable=False),
        Column("message", LargeBinary, nullable=False),
        Column("failed_at", BigInteger, nullable=False),
        Index(f"{prefix}failed_jobs_failed_at", "failed_at"),
    )
    workers = Table(
        f"{prefix}queue_workers",
        metadata,
        Column("id", String(80), primary_key=True),
        Column("host", String(128), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("queues", Text, nullable=False),
        Column("started_at", BigInteger, nullable=False),
        Column("beat", BigInteger, nullable=False),
        Column("beat_at", BigInteger, nullable=False),
        Column("dead_at", BigInteger, nullable=True),
    )
    migrations = Table(
        f"{prefix}queue_migrations",
        metadata,
        Column("version", Integer, primary_key=True),
        Column("applied_at", BigInteger, nullable=False),
    )
    return Tables(metadata, jobs, failed, workers, migrations)


def _jobs(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}queue_jobs"
    jobs = Table(
        name,
        metadata,
        Column("id", _ID, primary_key=True),
        Column("job_id", String(64), nullable=False),
        Column("queue", String(128), nullable=False),
        Column("name", String(191), nullable=False),
        Column("priority", SmallInteger, nullable=False),
        Column("state", SmallInteger, nullable=False),
        Column("available_at", BigInteger, nullable=False),
        Column("lease", Integer, nullable=False),
        Column("owner", String(80), nullable=True),
        Column("marked", SmallInteger, nullable=False),
        Column("suspect", SmallInteger, nullable=False),
        Column("deaths", SmallInteger, nullable=False),
        Column("message", LargeBinary, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        # Row numbers are never used again: a lease names a row by its number.
        sqlite_autoincrement=True,
    )
    # Each state has its own index, so that a claim costs the same however many jobs are delayed or held.
    _partial(jobs, f"{name}_ready", READY, jobs.c.queue, jobs.c.priority.desc(), jobs.c.available_at, jobs.c.id)
    _partial(jobs, f"{name}_delayed", DELAYED, jobs.c.available_at, jobs.c.queue)
    _partial(jobs, f"{name}_reserved", RESERVED, jobs.c.owner, jobs.c.queue)
    return jobs


def _partial(table: Table, name: str, state: int, *columns: ColumnElement[Any]) -> None:
    where = text(f"state = {state}")
    Index(name, *columns, sqlite_where=where, postgresql_where=where, _table=table)


def metadata(prefix: str = "", schema: str | None = None) -> MetaData:
    """The tables' SQLAlchemy metadata, for Alembic's `target_metadata`."""
    return tables(prefix, schema).metadata
