"""A small versioned migrator: each version is applied once, in order, under the database's lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, create_mock_engine, inspect, select
from sqlalchemy.schema import CreateSchema

from ..errors import DatabaseUnavailable, TablesMissing
from .tables import Tables

if TYPE_CHECKING:
    from .engine import Database


BACK = 1
"""How many versions the tables may be newer than the code: old workers go on while others are upgraded."""


@dataclass(frozen=True)
class Migration:
    """One step of the schema.

    It only adds what the code before it doesn't miss: tables, indexes, columns that may be null or have a default. What
    is no longer used goes a version later, when no code that is admitted uses it.
    """

    version: int
    says: str
    apply: Callable[[Connection, Tables], None]


def _first_tables(connection: Connection, tables: Tables) -> None:
    tables.metadata.create_all(connection)


MIGRATIONS = (Migration(1, "the tables of jobs, failed jobs and workers", _first_tables),)


@dataclass(frozen=True)
class Status:
    """Which versions a database has.

    Attributes:
      version: The last one applied; 0 if the tables are missing.
      newest: The last one that this code knows.
      pending: What `gello db upgrade` would apply.
    """

    version: int
    newest: int
    pending: tuple[Migration, ...]

    @property
    def ahead(self) -> bool:
        """Whether the tables are newer than this code, which works with them all the same."""
        return self.version > self.newest


class Migrator:
    """Brings one database to the newest version."""

    def __init__(self, database: Database, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
        self._database = database
        self._migrations = migrations

    def status(self) -> Status:
        """Which versions the database has. It is only read.

        Raises:
          DatabaseUnavailable: The tables are more than one version newer than this code.
        """
        with self._database.explained(), self._database.reading() as connection:
            return self._status(connection)

    def install(self) -> list[Migration]:
        """Create or upgrade the tables; returns what was applied.

        Raises:
          DatabaseUnavailable: The tables are more than one version newer than this code.
        """
        if not self.status().pending:
            return []
        database = self._database
        with (
            database.explained(),
            database.writing() as connection,
            database.backend.migrating(connection, database.tables),
        ):
            # Again, now that nobody else migrates: another process may have been faster.
            pending = self._status(connection).pending
            for migration in pending:
                migration.apply(connection, database.tables)
                row = {"version": migration.version, "applied_at": int(time.time() * 1000)}
                connection.execute(database.tables.migrations.insert(), row)
            return list(pending)

    def sql(self) -> str:
        """The statements that create the tables, for someone who applies them by hand."""
        statements: list[str] = []
        dialect = self._database.engine.dialect

        def note(ddl: Any, *_: Any, **__: Any) -> None:
            statements.append(f"{str(ddl.compile(dialect=dialect)).strip()};")

        engine = create_mock_engine(self._database.url, note)
        schema = self._database.tables.metadata.schema
        if schema is not None and dialect.name == "postgresql":
            note(CreateSchema(schema, if_not_exists=True))
        self._database.tables.metadata.create_all(engine, checkfirst=False)
        table = self._database.tables.migrations.fullname
        statements += [f"INSERT INTO {table} VALUES ({each.version}, 0);" for each in self._migrations]
        return "\n\n".join(statements)

    def _refuse_holes(self, connection: Connection) -> None:
        tables = self._database.tables
        ours = {table.name for table in (tables.jobs, tables.failed, tables.workers)}
        missing = ours - set(inspect(connection).get_table_names(schema=tables.metadata.schema))
        if missing:
            raise TablesMissing(
                f"{self._database.shown} lacks {', '.join(sorted(missing))}, although {tables.migrations.name} says it "
                "was created: restore it from a backup, or create it by hand with what `gello db sql` prints."
            )

    def _status(self, connection: Connection) -> Status:
        table = self._database.tables.migrations
        applied: set[int] = set()
        if inspect(connection).has_table(table.name, schema=table.schema):
            applied = set(connection.scalars(select(table.c.version)))
        newest = self._migrations[-1].version
        version = max(applied, default=0)
        if version > newest + BACK:
            raise DatabaseUnavailable(
                f"{self._database.shown} has tables of version {version}, this Gello knows {newest}; upgrade Gello."
            )
        if applied:
            self._refuse_holes(connection)
        return Status(version, newest, tuple(each for each in self._migrations if each.version not in applied))
