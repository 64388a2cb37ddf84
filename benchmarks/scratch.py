"""Databases of a run."""

from __future__ import annotations

import os
import tempfile

from .scenario import NotMeasured, Run

SERVERS = {
    "postgresql": ("GELLO_BENCH_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"),
    "mariadb": ("GELLO_BENCH_MARIADB", "mariadb://root@127.0.0.1:3306/mysql"),
}
"""For each server the variable that names it, and where it is when nothing is said: a user who may create databases."""


def fresh_url(run: Run) -> str:
    """The URL of an SQLite database that isn't there yet."""
    return f"sqlite:///{tempfile.mkdtemp(dir=run.scratch)}/jobs.db"


def server_url(kind: str) -> str:
    """The URL of an empty database with Gello's tables on a server; the next call replaces it."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError

    from gello_dramatiq.database.engine import Database, read_url
    from gello_dramatiq.database.migrations import Migrator

    variable, default = SERVERS[kind]
    server = read_url(os.environ.get(variable, default))
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    force = " WITH (FORCE)" if kind == "postgresql" else ""
    try:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS gello_bench{force}"))
            connection.execute(text("CREATE DATABASE gello_bench"))
    except SQLAlchemyError as error:
        raise NotMeasured(f"{kind} isn't there: {str(error).partition(chr(10))[0]}") from error
    finally:
        engine.dispose()
    url = server.set(database="gello_bench").render_as_string(hide_password=False)
    database = Database(url)
    Migrator(database).install()
    database.close()
    return url


def any_url(kind: str, run: Run) -> str:
    """A broker's URL, by its name in the cases."""
    if kind in SERVERS:
        return server_url(kind)
    return fresh_url(run) if kind == "sqlite" else "memory://"
