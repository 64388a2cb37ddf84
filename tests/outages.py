"""Faults of a real database, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gello_dramatiq.database.engine import Database


@contextmanager
def failures_cannot_be_kept(database: Database) -> Iterator[None]:
    """The table of failed jobs is away, which is answered at once."""
    _execute(database, "ALTER TABLE failed_jobs RENAME TO away")
    yield
    _execute(database, "ALTER TABLE away RENAME TO failed_jobs")


@contextmanager
def forbidden(database: Database, what: str) -> Iterator[None]:
    """One kind of change is refused, such as "DELETE ON failed_jobs"."""
    _execute(database, f"CREATE TRIGGER no BEFORE {what} BEGIN SELECT RAISE(ABORT, 'forbidden'); END")
    yield
    _execute(database, "DROP TRIGGER no")


def _execute(database: Database, statement: str) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(statement)
