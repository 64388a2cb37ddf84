"""Tables on a server: two processes install or upgrade them at once, and a script makes them by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, create_engine, inspect

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator
from tests import servers
from tests.contracts.conftest import wait_for
from tests.versions import VERSIONS

SERVERS = pytest.mark.parametrize("kind", servers.ADMIN)

INSTALL = """
import sys
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator
from tests.versions import VERSIONS

database = Database(sys.argv[1])
migrator = Migrator(database, VERSIONS[:2])
migrator.status()
print("ready", flush=True)
for _ in sys.stdin:
    print(len(migrator.install()), flush=True)
"""
"""Connects, and installs once for each line that it reads."""


@pytest.mark.slow
@SERVERS
@pytest.mark.parametrize("before", [0, 1], ids=["install", "upgrade"])
def test_of_two_processes_that_migrate_at_once_one_applies_and_none_errs(kind: str, before: int) -> None:
    url = servers.fresh(kind)
    database = Database(url)
    installers = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALL, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(2)
    ]
    assert [_line(each) for each in installers] == ["ready", "ready"]
    for _ in range(5):
        database.tables.metadata.drop_all(database.engine)
        if before:
            Migrator(database, VERSIONS[:before]).install()
        for each in installers:
            assert each.stdin is not None
            each.stdin.write("install\n")
        assert sorted(_line(each) for each in installers) == ["0", str(2 - before)]
        assert Migrator(database, VERSIONS[:2]).status().pending == ()
    for each in installers:
        assert each.communicate(timeout=10) == ("", "")
        assert each.returncode == 0
    database.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdout.readline().strip() or process.stderr.read()


def by_hand(database: Database) -> None:
    with database.writing() as connection:
        for statement in Migrator(database).sql().split(";\n"):
            connection.exec_driver_sql(statement)


def by_gello(database: Database) -> None:
    assert len(Migrator(database).install()) == 1


@pytest.mark.parametrize("make", [by_hand, by_gello])
@pytest.mark.parametrize(("kind", "schema"), [("postgresql", None), ("postgresql", "queues"), ("mariadb", None)])
def test_tables_that_were_made_anew_hold_jobs_that_are_worked(
    make: Callable[[Database], None], kind: str, schema: str | None
) -> None:
    url = servers.fresh(kind)
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)
        if n < 0:
            raise ValueError(n)

    public = Database(url)
    public.tables.metadata.drop_all(public.engine)
    if schema:
        with public.writing() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    database = Database(url, schema=schema)
    make(database)
    assert Migrator(database).status().pending == ()
    assert bool(inspect(public.engine).get_table_names()) == (schema is None)
    database.close()
    public.close()
    gello = Gello(url, jobs=[work], table_schema=schema)
    gello.queue.push(work, 1)
    gello.queue.bulk([work.job(n) for n in (2, -1)])
    gello.queue.later("1s", work, 3)
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: ran == [1, 2, -1, 3])
    wait_for(lambda: gello.queue.size(state="reserved") == 0)
    worker.stop()
    assert gello.failed.retry_all() == 1
    assert gello.queue.clear() == 1
    gello.close()


@pytest.fixture
def owner() -> Iterator[tuple[Connection, str]]:
    """A connection of the server's owner, and the URL of a user who owns the schema "jobs" and nothing else."""
    url = read_url(servers.fresh("postgresql"))
    who = f"{url.database}_owner"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS jobs CASCADE")
        connection.exec_driver_sql(f"DROP ROLE IF EXISTS {who}")
        connection.exec_driver_sql(f"CREATE ROLE {who} LOGIN")
        connection.exec_driver_sql(f"CREATE SCHEMA jobs AUTHORIZATION {who}")
        yield connection, url.set(username=who).render_as_string(hide_password=False)
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS jobs CASCADE")
        connection.exec_driver_sql(f"DROP ROLE {who}")
    engine.dispose()


def test_tables_in_a_schema_that_is_there_need_no_right_to_create_one(owner: tuple[Connection, str]) -> None:
    database = Database(owner[1], schema="jobs")
    assert Migrator(database).install()
    assert Migrator(database).install() == []
    database.close()
