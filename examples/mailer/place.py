"""Where the demo keeps its jobs: in a SQLite file, in a database of its own on a server, or in Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVERS = {
    "postgresql": ("DEMO_POSTGRESQL", "postgresql://postgres@127.0.0.1/postgres"),
    "mariadb": ("DEMO_MARIADB", "mariadb://root@127.0.0.1/mysql"),
    "redis": ("DEMO_REDIS", "redis://127.0.0.1/0"),
}
"""For each server the variable that names it, and where it is else: by a user who may create databases."""


@contextmanager
def place(kind: str, directory: Path) -> Iterator[dict[str, str]]:
    """What the environment says of an empty place for jobs, which is gone afterwards."""
    file = f"sqlite:///{directory}/gello.db"
    if kind == "sqlite":
        yield {"QUEUE_URL": file, "DATABASE_URL": file}
        return
    variable, default = SERVERS[kind]
    server, name = os.environ.get(variable, default), f"gello_demo_{os.getpid()}"
    if kind == "redis":
        with _keys(server, f"{name}:"):
            yield {"QUEUE_URL": server, "QUEUE_PREFIX": f"{name}:", "DATABASE_URL": file, "QUEUE_SINGLE_HOST": "true"}
    else:
        with _database(server, name) as url:
            yield {"QUEUE_URL": url, "DATABASE_URL": url}


@contextmanager
def _keys(server: str, prefix: str) -> Iterator[None]:
    from gello_dramatiq.brokers.redis.client import Client

    client = Client(server, prefix)
    client.ask(lambda redis: redis.ping())
    try:
        yield
    finally:
        client.ask(lambda redis: [redis.delete(key) for key in redis.scan_iter(f"{prefix}*")])
        client.close()


@contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    from gello_dramatiq.database.engine import Database
    from gello_dramatiq.database.migrations import Migrator

    admin = Database(server)
    _tell(admin, f"CREATE DATABASE {name}")
    try:
        url = admin.url.set(database=name).render_as_string(hide_password=False)
        database = Database(url)
        Migrator(database).install()
        database.close()
        yield url
    finally:
        _tell(admin, f"DROP DATABASE {name}{' WITH (FORCE)' if admin.dialect == 'postgresql' else ''}")
        admin.close()


def _tell(database: Any, statement: str) -> None:
    with database.explained(), database.reading() as connection:
        connection.exec_driver_sql(statement)
