"""Database servers for tests: found by environment variables, skipped aloud where they are absent, an error in CI."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator

ADMIN = {
    "postgresql": os.environ.get("GELLO_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("GELLO_TEST_MARIADB", "mariadb://root@127.0.0.1:3306/mysql"),
}
"""URLs of users who may create databases."""
REDIS = os.environ.get("GELLO_TEST_REDIS", "redis://127.0.0.1:6379/15")
"""The URL of a Redis whose keys of tests may be dropped."""
PREFIX = f"gello-test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}:"
"""What the keys of this test process begin with."""
missing: dict[str, str] = {}
"""The servers that were asked for and are not there, with the reason."""


def fresh(kind: str) -> str:
    """The URL of a database with Gello's tables and nothing in them; it is this test process's own."""
    if kind == "redis":
        return _emptied_redis()
    url = _own(kind)
    if url is None:
        pytest.skip(f"no {kind}: {missing[kind]}")
    database = Database(url)
    database.tables.metadata.drop_all(database.engine)
    Migrator(database).install()
    database.close()
    return url


def _emptied_redis() -> str:
    import redis

    client = redis.Redis.from_url(REDIS, socket_connect_timeout=3)
    try:
        keys = list(client.scan_iter(f"{PREFIX}*", count=1000))
        if keys:
            client.delete(*keys)
    except redis.RedisError as error:
        if os.environ.get("CI"):
            raise
        missing["redis"] = str(error)
        pytest.skip(f"no redis: {error}")
    finally:
        client.close()
    return REDIS


def redis_messages() -> list[bytes]:
    """All messages of this test process's queues."""
    import redis

    client = redis.Redis.from_url(REDIS)
    keys = list(client.scan_iter(f"{PREFIX}*.msgs", count=1000))
    found = [raw for key in keys for raw in client.hvals(key)]
    client.close()
    return found


@cache
def _own(kind: str) -> str | None:
    url = read_url(ADMIN[kind])
    name = f"gello_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    timeout = {"connect_timeout": 3}
    engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args=timeout)
    try:
        with engine.connect() as connection:
            force = " WITH (FORCE)" if kind == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}{force}"))
            connection.execute(text(f"CREATE DATABASE {name}"))
    except Exception as error:
        if os.environ.get("CI"):
            raise
        missing[kind] = str(error).partition("\n")[0]
        return None
    finally:
        engine.dispose()
    scheme = make_url(ADMIN[kind]).drivername
    return url.set(drivername=scheme, database=name).render_as_string(hide_password=False)


def kill_connections(database: Database) -> None:
    """End every connection to a database."""
    kind = "postgresql" if database.dialect == "postgresql" else "mariadb"
    engine = create_engine(read_url(ADMIN[kind]), isolation_level="AUTOCOMMIT")
    name = {"name": database.url.database}
    with engine.connect() as connection:
        if kind == "postgresql":
            end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
            connection.execute(end, name)
        else:
            ids = connection.execute(text("SELECT id FROM information_schema.processlist WHERE db = :name"), name)
            for (number,) in ids.all():
                with suppress(OperationalError):  # it has gone by itself
                    connection.execute(text(f"KILL {number}"))
    engine.dispose()
