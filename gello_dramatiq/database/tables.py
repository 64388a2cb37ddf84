"""Gello's tables. `metadata()` is for people who keep their schema with Alembic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Identity,
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
from sqlalchemy.dialects import mysql

from ..errors import InvalidSetting

READY, DELAYED, RESERVED = 0, 1, 2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")
_ID = BigInteger().with_variant(Integer, "sqlite")
# MySQL's own TEXT and BLOB end at 64 KiB.
_BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_ZERO = text("0")
_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
# Names differ by case and compare as bytes do. Row numbers are never used again: a lease names a row by its number.
_HOW: dict[str, Any] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin",
                        "mariadb_charset": "utf8mb4", "mariadb_collate": "utf8mb4_bin"}  # fmt: skip


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
        Column("exception", _TEXT, nullable=False),
        Column("traceback", _TEXT, nullable=False),
        Column("attempts", _TEXT, nullable=False),
        Column("payload", _TEXT, nullable=False),
        Column("message", _BYTES, nullable=False),
        Column("failed_at", BigInteger, nullable=False),
        Index(f"{prefix}failed_jobs_failed_at", "failed_at"),
        **_HOW,
    )
    workers = Table(
        f"{prefix}queue_workers",
        metadata,
        Column("id", String(80), primary_key=True),
        Column("owner", BigInteger, nullable=False),
        Column("host", String(128), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("queues", _TEXT, nullable=False),
        Column("started_at", BigInteger, nullable=False),
        Column("beat", BigInteger, nullable=False),
        Column("beat_at", BigInteger, nullable=False),
        Column("dead_at", BigInteger, nullable=True),
        **_HOW,
    )
    migrations = Table(
        f"{prefix}queue_migrations",
        metadata,
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("applied_at", BigInteger, nullable=False),
        **_HOW,
    )
    return Tables(metadata, jobs, failed, workers, migrations)


def _jobs(metadata: MetaData, prefix: str) -> Table:
    name = f"{prefix}queue_jobs"
    jobs = Table(
        name,
        metadata,
        Column("id", _ID, Identity(), primary_key=True),
        Column("job_id", String(64), nullable=False),
        Column("queue", String(128), nullable=False),
        Column("name", String(191), nullable=False),
        # Lower comes first: minus the priority, so that one ascending index gives the order on every database.
        Column("precedence", SmallInteger, nullable=False),
        Column("state", SmallInteger, nullable=False),
        Column("available_at", BigInteger, nullable=False),
        Column("lease", Integer, nullable=False, server_default=_ZERO),
        # A number, as what grows in its row would have to be moved by a claim; 0 is nobody.
        Column("owner", BigInteger, nullable=False, server_default=_ZERO),
        Column("marked", SmallInteger, nullable=False, server_default=_ZERO),
        Column("suspect", SmallInteger, nullable=False, server_default=_ZERO),
        Column("deaths", SmallInteger, nullable=False, server_default=_ZERO),
        Column("message", _BYTES, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        sqlite_autoincrement=True,
        **_HOW,
    )
    # Each state has its own index, so that a claim costs the same however many jobs are delayed or held.
    _partial(jobs, "ready", READY, "queue", "precedence", "available_at", "id")
    _partial(jobs, "delayed", DELAYED, "available_at", "queue")
    _partial(jobs, "reserved", RESERVED, "owner", "queue")
    # Each row is in each of these, so there is none for owners: what is held is little, and found by its state.
    _whole(jobs, "ready_state", "state", "queue", "precedence", "available_at", "id")
    _whole(jobs, "delayed_state", "state", "available_at", "queue")
    return jobs


def _partial(table: Table, name: str, state: int, *columns: str) -> None:
    """An index of one state's rows."""
    where, indexed = text(f"state = {state}"), [table.c[column] for column in columns]
    index = Index(f"{table.name}_{name}", *indexed, sqlite_where=where, postgresql_where=where, _table=table)
    index.ddl_if(callable_=_has_partial_indexes)


def _whole(table: Table, name: str, *columns: str) -> None:
    """An index of all rows, for databases that have no partial ones."""
    index = Index(f"{table.name}_{name}", *(table.c[column] for column in columns), _table=table)
    index.ddl_if(callable_=lambda *args, **how: not _has_partial_indexes(*args, **how))


def _has_partial_indexes(*_: Any, dialect: Dialect, **__: Any) -> bool:
    return dialect.name in ("sqlite", "postgresql")


def metadata(prefix: str = "", schema: str | None = None) -> MetaData:
    """The tables' SQLAlchemy metadata, for Alembic's `target_metadata`."""
    return tables(prefix, schema).metadata
