"""What a server answers, in words: one clear line within five seconds, the password masked, the fix named."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pymysql  # type: ignore[import-untyped]  # it brings no types
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import MIGRATIONS, Migration, Migrator
from gello_dramatiq.database.tables import Tables
from gello_dramatiq.errors import DatabaseUnavailable, TablesMissing
from tests import servers

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mariadb"])


@queueable
def work(n: int) -> None: ...


def refused(url: URL) -> str:
    """What a push says; it must say it soon, and must not say the password."""
    gello = Gello(url.render_as_string(hide_password=False), jobs=[work])
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as raised:
        gello.queue.push(work, 1)
    assert time.monotonic() - began < 5
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    gello.close()
    return str(raised.value)


@SERVERS
def test_a_server_that_is_down_is_named_at_once(kind: str) -> None:
    url = read_url(servers.fresh(kind)).set(port=9, password="secret")
    assert "isn't there" in refused(url)


@SERVERS
def test_a_host_that_cannot_be_found_is_named_with_the_fix(kind: str) -> None:
    said = refused(read_url(servers.fresh(kind)).set(host="no-such-host.invalid", password="secret"))
    assert "no-such-host.invalid" in said
    assert "in the URL" in said or "mend the URL" in said


@SERVERS
def test_a_server_that_takes_the_connection_and_says_nothing_is_given_up(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = read_url(servers.fresh(kind)).set(port=silent.getsockname()[1], password="secret")
        said = refused(url)
    assert "127.0.0.1" in said
    assert "didn't answer" in said


@SERVERS
def test_a_host_that_cannot_be_found_is_named(kind: str) -> None:
    said = refused(read_url(servers.fresh(kind)).set(host="db.invalid", password="secret"))
    assert "db.invalid" in said
    assert "mend the URL" in said or "check host and port in the URL" in said


@SERVERS
def test_another_program_at_the_port_is_no_mystery(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            asks, _ = other.accept()
            with asks:
                asks.sendall(b"220 mail.example.com ESMTP\r\n")
                asks.recv(1)

        threading.Thread(target=greet, daemon=True).start()
        said = refused(read_url(servers.fresh(kind)).set(port=other.getsockname()[1], password="secret"))
    assert "listens at this host and port" in said


@pytest.mark.parametrize(("kind", "option"), [("postgresql", "sslmod"), ("mariadb", "charsett"), ("mariadb", "ssl")])
def test_an_option_that_the_driver_does_not_take_is_refused_in_words(kind: str, option: str) -> None:
    said = refused(read_url(servers.fresh(kind)).update_query_dict({option: "require"}))
    assert "option" in said


def test_a_statement_may_take_longer_than_the_greeting() -> None:
    database = Database(servers.fresh("mariadb"))
    with database.read() as connection:
        assert connection.execute(text("SELECT SLEEP(3.5)")).scalar_one() == 0
    database.close()


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Somebody's lock of the table of jobs."""
    engine = create_engine(read_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("BEGIN"))
            connection.execute(text("LOCK TABLE queue_jobs"))
        else:
            connection.execute(text("LOCK TABLES queue_jobs WRITE"))
        yield
        connection.execute(text("ROLLBACK" if connection.dialect.name == "postgresql" else "UNLOCK TABLES"))
    engine.dispose()


@SERVERS
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_push_beside_a_lock_of_the_table_says_so_soon_and_queues_nothing(kind: str, jobs: int) -> None:
    url = servers.fresh(kind)
    gello = Gello(url, jobs=[work])
    with locked(url):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="has held a lock that this waits for, for 3 s"):
            gello.queue.bulk([work.job(n) for n in range(jobs)])
        assert time.monotonic() - began < 5
    assert gello.queue.size() == 0
    gello.close()


@SERVERS
def test_a_read_beside_a_lock_of_the_table_says_so_soon(kind: str) -> None:
    url = servers.fresh(kind)
    gello = Gello(url, jobs=[work])
    began = time.monotonic()
    with locked(url), pytest.raises(DatabaseUnavailable, match="has held a lock"):
        gello.queue.size()
    assert time.monotonic() - began < 5
    gello.close()


@SERVERS
def test_whoever_migrates_waits_for_another_that_does(kind: str) -> None:
    url = servers.fresh(kind)
    database = Database(url)
    database.tables.metadata.drop_all(database.engine)
    migrates, done = threading.Event(), threading.Event()

    def slow(connection: Connection, tables: Tables) -> None:
        migrates.set()
        done.wait(4)  # longer than anything else waits for a lock
        tables.metadata.create_all(connection)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(Migrator(database, (Migration(1, "slowly", slow),)).install)
        assert migrates.wait(5)
        assert Migrator(database).install() == []
        assert len(first.result()) == 1
    database.close()


@SERVERS
def test_a_change_of_a_table_waits_for_its_lock_no_longer_than_a_push(kind: str) -> None:
    url = servers.fresh(kind)
    database = Database(url)

    def change(connection: Connection, tables: Tables) -> None:
        connection.execute(text(f"ALTER TABLE {tables.jobs.name} ADD COLUMN more INTEGER"))

    with locked(url), pytest.raises(DatabaseUnavailable, match="has held a lock"):
        Migrator(database, (*MIGRATIONS, Migration(2, "more", change))).install()
    database.close()


def test_a_limit_that_somebody_set_for_locks_is_kept() -> None:
    database = Database(f"{servers.fresh('postgresql')}?options=-clock_timeout%3D7s")
    with database.read() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "7s"
    database.close()


def test_nothing_is_set_or_prepared_for_the_sessions_of_a_pooler() -> None:
    gello = Gello(f"{servers.fresh('postgresql')}?notify=off", jobs=[work])
    for n in range(10):
        gello.queue.push(work, n)
    with gello.database.read() as connection:
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "0"
        assert connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one() == 0
    gello.close()


@SERVERS
def test_a_table_that_is_missing_among_the_others_is_named(kind: str) -> None:
    database = Database(servers.fresh(kind))
    with database.write() as connection:
        connection.execute(text("DROP TABLE queue_workers"))
    for ask in (Migrator(database).status, Migrator(database).install):
        with pytest.raises(DatabaseUnavailable, match="lacks queue_workers, although queue_migrations says it was"):
            ask()
    database.close()


@SERVERS
def test_a_database_that_does_not_exist_is_named(kind: str) -> None:
    said = refused(read_url(servers.fresh(kind)).set(database="gello_nowhere"))
    assert "the server has no database of this name; create it, or mend the URL." in said


@SERVERS
def test_a_user_that_is_refused_is_told_which_part_to_check(kind: str) -> None:
    said = refused(read_url(servers.fresh(kind)).set(username="nobody_here", password="secret"))
    assert "refuses the" in said or "refuses this user" in said


@SERVERS
def test_missing_tables_are_answered_with_the_command_that_makes_them(kind: str) -> None:
    url = servers.fresh(kind)
    database = Database(url)
    database.tables.metadata.drop_all(database.engine)
    database.close()
    gello = Gello(url, jobs=[work])
    with pytest.raises(TablesMissing, match="create them with `gello db install`"):
        gello.queue.push(work, 1)
    gello.close()


@pytest.fixture
def poor(request: pytest.FixtureRequest) -> Iterator[URL]:
    """A user who may log in and no more."""
    kind: str = request.param
    url = read_url(servers.fresh(kind))
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    who = "gello_poor" if kind == "postgresql" else "gello_poor@'%'"
    with engine.connect() as connection:
        connection.execute(text(f"DROP {'ROLE' if kind == 'postgresql' else 'USER'} IF EXISTS {who}"))
        if kind == "postgresql":
            connection.execute(text(f"CREATE ROLE {who} LOGIN"))
        else:
            connection.execute(text(f"CREATE USER {who} IDENTIFIED BY 'secret'"))
            connection.execute(text(f"GRANT SELECT ON {url.database}.* TO {who}"))
    yield url.set(username="gello_poor", password="secret")
    with engine.connect() as connection:
        connection.execute(text(f"DROP {'ROLE' if kind == 'postgresql' else 'USER'} {who}"))
    engine.dispose()


@pytest.mark.parametrize("poor", ["postgresql", "mariadb"], indirect=True)
def test_a_missing_right_is_named_with_the_page_that_lists_them(poor: URL) -> None:
    said = refused(poor)
    assert "this user lacks a right; docs/" in said


@SERVERS
def test_a_transaction_that_was_left_open_is_undone_when_its_connection_is_given_back(kind: str) -> None:
    database = Database(servers.fresh(kind))
    with database.reading() as connection:
        driver = connection.connection.driver_connection
        driver.cursor().execute("BEGIN")
        driver.cursor().execute("INSERT INTO queue_migrations VALUES (7, 0)")
    with database.reading() as connection:
        assert connection.connection.driver_connection is driver
        count = connection.exec_driver_sql("SELECT count(*) FROM queue_migrations WHERE version = 7")
        assert count.scalar_one() == 0
    database.close()


@SERVERS
def test_tables_that_are_newer_than_the_code_are_refused(kind: str) -> None:
    url = servers.fresh(kind)
    database = Database(url)
    with database.write() as connection:
        connection.execute(text("INSERT INTO queue_migrations VALUES (99, 0)"))
    with pytest.raises(DatabaseUnavailable, match="has tables of version 99, this Gello knows 1; upgrade Gello"):
        Migrator(database).status()
    database.close()


@SERVERS
def test_a_connection_that_died_unused_is_replaced_before_it_is_used(kind: str) -> None:
    gello = Gello(servers.fresh(kind), jobs=[work])
    gello.queue.push(work, 1)
    servers.kill_connections(gello.database)
    time.sleep(1.1)  # see TRUSTED
    gello.queue.push(work, 2)
    assert gello.queue.size() == 2
    gello.close()


def test_connections_that_die_in_use_leave_no_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    gello = Gello(servers.fresh("postgresql"), jobs=[work])
    worker = gello.worker()
    worker.start()
    time.sleep(0.5)  # it listens
    servers.kill_connections(gello.database)
    until = time.monotonic() + 5
    while "No announcements" not in caplog.text and time.monotonic() < until:
        time.sleep(0.05)
    with suppress(DatabaseUnavailable):  # its connection was killed, too
        gello.queue.push(work, 1)
    worker.stop()
    gello.close()
    assert "No announcements" in caplog.text
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


@SERVERS
def test_a_connection_that_dies_under_way_is_named_by_its_own_error_alone(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    gello = Gello(servers.fresh(kind), jobs=[work])
    gello.queue.push(work, 1)

    def claim(connection: Connection) -> object:
        servers.kill_connections(gello.database)
        return gello.broker._sql.claim(connection, 1, "default", 1)  # type: ignore[attr-defined]

    why = "terminating connection" if kind == "postgresql" else "Lost connection"
    for at_once in (True, False):
        with pytest.raises(DatabaseUnavailable, match=why):
            gello.database.transact(claim, at_once=at_once)
    assert caplog.records == []
    gello.close()


def test_a_push_that_is_interrupted_before_its_answer_leaves_the_answer_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gello = Gello(servers.fresh("mariadb"), jobs=[work])
    gello.queue.push(work, 1)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # Where Ctrl-C arrives that was pressed while the statement was sent.
        patch.setattr(pymysql.connections.Connection, "_read_query_result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            gello.queue.push(work, 2)
    gello.queue.push(work, 3)
    assert gello.queue.size() in (2, 3)
    gello.close()
