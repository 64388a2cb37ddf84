"""What is different about one kind of database: how it is opened, how a transaction begins, what its errors mean."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL

from ..errors import DatabaseUnavailable, TablesMissing
from .tables import Tables

BUSY = 3.0
"""Seconds to wait for a lock, a connection or an answer before saying so."""

POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 64, "pool_timeout": BUSY}
"""How many connections a process opens at most, and keeps."""


class Deadlock(DatabaseUnavailable):
    """The server ended this transaction, so that another could go on; nothing of it has happened."""


class Backend(Protocol):
    """One kind of database."""

    installs_itself: ClassVar[bool]
    """Whether its tables are made at the first use: nobody else owns it."""
    errors: ClassVar[tuple[type[Exception], ...]]
    """What its driver raises."""

    def check(self, url: URL) -> None:
        """Refuse a URL that can't work.

        Raises:
          InvalidSetting: The message says why.
        """
        ...

    def open(self, url: URL) -> Engine:
        """An engine, which connects when it is used."""
        ...

    def transaction(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A transaction that will write, one at a time where the database has one writer."""
        ...

    def at_once(self, engine: Engine) -> AbstractContextManager[Connection]:
        """A connection for statements each of which is committed by itself, where the database can do that."""
        ...

    def migrating(self, connection: Connection, tables: Tables) -> AbstractContextManager[None]:
        """Keep others from changing the tables."""
        ...

    def identity(self, connection: Connection) -> Any:
        """What a connection's database says it is, whatever it is called by: equal for the same one."""
        ...

    def explain(self, cause: Exception, where: str) -> DatabaseUnavailable | None:
        """A driver's error in words: what happened, where, what to do; None if it isn't the database's fault."""
        ...

    def after_fork(self) -> None:
        """Begin afresh in a child."""
        ...


def tables_missing(where: str, cause: object) -> TablesMissing:
    """The database has no tables of Gello."""
    return TablesMissing(f"{where} has no Gello tables ({cause}); create them with `gello db install`.")
