"""Versions of the tables: the one that there is, and two that a later Gello might add."""

from __future__ import annotations

from sqlalchemy import Connection

from gello_dramatiq.database.migrations import MIGRATIONS, Migration
from gello_dramatiq.database.tables import Tables


def _add_note(connection: Connection, tables: Tables) -> None:
    for table in (tables.jobs, tables.failed, tables.workers):
        connection.exec_driver_sql(f"ALTER TABLE {table.fullname} ADD COLUMN note VARCHAR(20)")


def _add_mark(connection: Connection, tables: Tables) -> None:
    connection.exec_driver_sql(f"ALTER TABLE {tables.jobs.fullname} ADD COLUMN mark INTEGER")


NEWEST = MIGRATIONS[-1].version
VERSIONS = (
    *MIGRATIONS,
    Migration(NEWEST + 1, "a note beside each job, failed job and worker", _add_note),
    Migration(NEWEST + 2, "a mark on each job", _add_mark),
)
