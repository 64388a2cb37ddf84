"""Databases of a run."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from .scenario import NotMeasured, Run

SERVERS = {
    "postgresql": ("GELLO_BENCH_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": ("GELLO_BENCH_MARIADB", "mariadb://root@127.0.0.1:3306/mysql"),
}
"""For each server the variable that names it, and where it is when nothing is said: a user who may create databases."""


def fresh_url(run: Run) -> str:
    """The URL of an SQLite database that isn't there yet."""
    return f"sqlite:///{tempfile.mkdtemp(dir=run.scratch)}/jobs.db"


def asked(kind: str, *statements: str) -> Any:
    """Tell a server something as the user who may create databases; returns the one answer to the last statement.

    Raises:
      NotMeasured: The server isn't there, or refuses it.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_engine(_server(kind), isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    try:
        with engine.connect() as connection:
            results = [connection.execute(text(statement)) for statement in statements]
            return results[-1].scalar() if results[-1].returns_rows else None
    except SQLAlchemyError as error:
        raise NotMeasured(f"{kind} isn't there: {str(error).partition(chr(10))[0]}") from error
    finally:
        engine.dispose()


def server_url(kind: str, name: str = "gello_bench") -> str:
    """The URL of an empty database with Gello's tables on a server; the next call for the same name replaces it."""
    from gello_dramatiq.database.engine import Database
    from gello_dramatiq.database.migrations import Migrator

    force = " WITH (FORCE)" if kind == "postgresql" else ""
    asked(kind, f"DROP DATABASE IF EXISTS {name}{force}", f"CREATE DATABASE {name}")
    url: str = _server(kind).set(database=name).render_as_string(hide_password=False)
    database = Database(url)
    Migrator(database).install()
    database.close()
    return url


def any_url(kind: str, run: Run, name: str = "gello_bench") -> str:
    """A broker's URL, by its name in the cases; on a server its database has this name."""
    if kind in SERVERS:
        return server_url(kind, name)
    if kind == "redis":
        os.environ["QUEUE_SINGLE_HOST"] = "true"  # for helper processes, too: nothing fails here
        return redis_url()
    return fresh_url(run) if kind == "sqlite" else "memory://"


def redis_url() -> str:
    """The URL of a Redis database that is emptied now.

    Raises:
      NotMeasured: The server isn't there.
    """
    url = os.environ.get("GELLO_BENCH_REDIS", "redis://127.0.0.1:6379/14")
    try:
        import redis

        client = redis.Redis.from_url(url, socket_connect_timeout=3)
        client.flushdb()
        client.close()
    except (ImportError, redis.RedisError) as error:
        raise NotMeasured(f"Redis isn't there: {error}") from error
    return url


def _server(kind: str) -> Any:
    from gello_dramatiq.database.engine import read_url

    variable, default = SERVERS[kind]
    return read_url(os.environ.get(variable, default))
