"""Where the demo keeps its jobs: in a SQLite file, or in a database of its own on a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator

SERVERS = {
    "postgresql": ("DEMO_POSTGRESQL", "postgresql://postgres@127.0.0.1/postgres"),
    "mariadb": ("DEMO_MARIADB", "mariadb://root@127.0.0.1/mysql"),
}
"""For each server the variable that names it, and where it is when nothing is said: a user who may create databases."""


@contextmanager
def place(kind: str, directory: Path) -> Iterator[str]:
    """The URL of an empty database with Gello's tables, which is gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/gello.db"
        return
    variable, default = SERVERS[kind]
    server, name = read_url(os.environ.get(variable, default)), f"gello_demo_{os.getpid()}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        url = server.set(database=name).render_as_string(hide_password=False)
        database = Database(url)
        Migrator(database).install()
        database.close()
        yield url
    finally:
        with engine.connect() as connection:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE {name}{force}"))
        engine.dispose()
