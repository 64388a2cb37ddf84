"""Where the workers of a database stand: a row each."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ...database.engine import Database
from ...leases import Member
from .settling import free
from .statements import Statements


def owner_number(name: str) -> int:
    """What stands for a worker in the rows that it holds: 63 bits of a hash of its name, and never 0."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1 or 1


class SqlRoster:
    """The workers of one database.

    Parameters:
      database: Where they stand.
      sql: Asks who holds jobs, and frees them.
      lease: In seconds.
    """

    def __init__(self, database: Database, sql: Statements, lease: float) -> None:
        self._database = database
        self._workers = database.tables.workers
        self._sql = sql
        self._lease = lease

    def register(self, name: str, queues: str) -> None:
        row: dict[str, Any] = {
            "id": name,
            "owner": owner_number(name),
            "host": name.partition(":")[0],
            "pid": os.getpid(),
            "queues": queues,
            "beat": 0,
            "dead_at": None,
        }
        with self._database.write() as connection:
            now = self._sql.now(connection)
            connection.execute(delete(self._workers).where(self._workers.c.id == name))
            connection.execute(insert(self._workers), row | {"started_at": now, "beat_at": now})

    def beat(self, name: str) -> bool:
        workers = self._workers
        alive = (workers.c.id == name) & workers.c.dead_at.is_(None)
        with self._database.write() as connection:
            now = self._sql.now(connection)
            beat = connection.execute(update(workers).where(alive).values(beat=workers.c.beat + 1, beat_at=now))
        return beat.rowcount > 0

    def others(self, name: str) -> dict[Any, Member]:
        workers = self._workers
        with self._database.read() as connection:
            rows = connection.execute(select(workers.c.owner, workers.c.id, workers.c.beat)).all()
            # An owner without a row: its worker was forgotten before its claim was committed.
            found = {owner: Member("that nobody knows", -1) for (owner,) in self._sql.ask(connection, "owners")}
        found |= {row.owner: Member(row.id, row.beat) for row in rows}
        found.pop(owner_number(name), None)
        return found

    def bury(self, owner: Any) -> int:
        this = self._workers.c.owner == owner

        def act(connection: Connection) -> int:
            now, freed = self._sql.now(connection), free(self._sql, connection, owner)
            dead_at = connection.execute(select(self._workers.c.dead_at).where(this)).scalar()
            if dead_at is None:
                connection.execute(update(self._workers).where(this).values(dead_at=now))
            elif now - dead_at > self._lease * 1000:
                connection.execute(delete(self._workers).where(this))
            return freed

        return self._database.transact(act)

    def forget(self, name: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(self._workers).where(self._workers.c.id == name))
