"""The database room: its errors in words, its migrator, its plans."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine, event, inspect, select

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.brokers.database.roster import owner_number
from gello_dramatiq.brokers.database.settling import free
from gello_dramatiq.database.engine import Database
from gello_dramatiq.database.migrations import MIGRATIONS, Migration, Migrator
from gello_dramatiq.database.tables import DELAYED, metadata, tables
from gello_dramatiq.errors import DatabaseUnavailable, InvalidSetting, TablesMissing
from gello_dramatiq.masking import mask
from gello_dramatiq.outcome import Kind, Outcome, Progress
from tests import servers


@queueable
def work(n: int = 0) -> None: ...


def test_sqlite_installs_itself_at_first_use_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "gello.db"
    gello = Gello(f"sqlite:///{path}", jobs=[work])
    assert not path.exists(), "making an app opens nothing"
    gello.queue.push(work, 1)
    assert path.exists()
    assert gello.queue.size() == 1
    gello.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is no database URL"),
        ("sqlite://", "in memory is lost"),
        ("sqlite:///:memory:", "in memory is lost"),
        ("sqlite://jobs/gello.db", "write three: sqlite:///jobs/gello.db"),
        ("sqlite:////no/such/folder/gello.db", "there is no folder '/no/such/folder'"),
        ("nosuch://host/db", "nosuch"),
        ("oracle://ann:secret@host/db", r"ann:\*\*\*@host/db: Gello doesn't speak oracle; it speaks mariadb"),
        ("postgresql+asyncpg://ann:secret@host/db", "doesn't speak postgresql.asyncpg"),
        ("mysql://ann:secret@host", "name the database"),
        ("postgresql://ann:secret@host:54x32/db", r"ann:\*\*\*@host:54x32/db' is no database URL"),
        ("postgresql://ann:secret@[::1/db", "is no database URL"),
        ("postgresql://ann:secret@host:65536/db", "there is no port 65536"),
        ("postgresql://ann:se@secret@host/db", r"ann:\*\*\*@host/db: what is before the host holds an '@'; .* %40"),
        ("postgresql://ann:secret@host/db?notify=no", "notify is on or off"),
        ("postgresql://ann:secret@host/db?port=x", "non-integer port"),
        ("mysql://ann:secret@host/db?connect_timeout=x", "'x'; mend the options"),
        ("amqp://localhost", "amqp:// comes in a later version"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_words_without_its_password(url: str, says: str) -> None:
    with pytest.raises(Exception, match=says) as raised:
        Gello(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mariadb"])
@pytest.mark.parametrize("how", [Kind.RELEASED, Kind.RETRIED])
def test_what_is_put_back_is_never_early_by_the_fraction_of_a_millisecond(kind: str, how: Kind, tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}" if kind == "sqlite" else servers.fresh(kind), jobs=[work])
    assert isinstance(gello.broker, DatabaseBroker)
    database, jobs = gello.broker.database, gello.broker.database.tables.jobs
    for n in range(30):
        gello.queue.push(work, n)
        (claim,) = gello.broker.claim("me", ["default"], 1)
        before = time.time() * 1000
        claim.outcome = Outcome(how, delay=timedelta(seconds=1), progress=Progress(attempts=1))
        assert gello.broker.settle([claim]) == 0
        with database.write() as connection:
            due = connection.execute(select(jobs.c.available_at)).scalar_one()
            connection.execute(jobs.delete())
        assert due >= before + 1000
    gello.close()


def test_a_password_is_masked_wherever_it_stands() -> None:
    assert mask("amqp://ann:secret@host/vhost") == "amqp://ann:***@host/vhost"
    assert mask("not a url") == "not a url"
    assert mask("redis://host") == "redis://host"
    assert mask("redis://:p@ss@host:6379/0") == "redis://:***@host:6379/0"
    assert mask("ann:secret@host") == "ann:***@host"
    assert mask("'postgresql+nope://user:s3cret/x@host/db' is none") == "'postgresql+nope://user:***@host/db' is none"
    assert mask("postgres//u:p/w@h") == "postgres//u:***@h"
    assert mask("mysql://u:a?b#c@host:3306/db") == "mysql://u:***@host:3306/db"
    assert mask("http://host:8000/path") == "http://host:8000/path"
    assert mask("mysql://host/db?user=ann&password=secret&ssl=1") == "mysql://host/db?user=ann&password=***&ssl=1"
    assert mask("sqlite:////var/lib/gello.db") == "sqlite:////var/lib/gello.db"


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and they are no database at all. " * 20)
    before = path.read_bytes()
    with pytest.raises(DatabaseUnavailable, match=r"notes\.txt is a file, but no SQLite database"):
        Gello(f"sqlite:///{path}").queue.push(work)
    assert path.read_bytes() == before


def test_a_read_only_database_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.push(work)
    gello.close()
    read_only = Gello(f"sqlite:///file:{tmp_path / 'gello.db'}?mode=ro&uri=true", jobs=[work])
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        read_only.queue.push(work)
    read_only.close()


def test_tables_that_were_dropped_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.push(work)
    with closing(sqlite3.connect(tmp_path / "gello.db")) as connection:
        connection.execute("DROP TABLE queue_jobs")
    with pytest.raises(TablesMissing, match="gello db install"):
        gello.queue.push(work)
    gello.close()


def still_open(folder: Path) -> list[str]:
    """The database files in a folder that this process has open."""
    return [file.path for file in psutil.Process().open_files() if Path(file.path).is_relative_to(folder.resolve())]


def test_a_pool_without_a_free_connection_says_how_many_it_has_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    pool: Any = database.engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.01)
    with ExitStack() as held:
        for _ in range(72):
            held.enter_context(database.read())
        with pytest.raises(DatabaseUnavailable, match=r"none of .* 72 connections .*; use it from fewer threads at"):
            held.enter_context(database.read())
    database.close()


def test_an_app_that_is_closed_closes_both_its_databases_and_the_broker_s_watcher(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'jobs.db'}", database=f"sqlite:///{tmp_path / 'failed.db'}", jobs=[work])
    gello.queue.push(work)
    assert gello.failed.count() == 0
    assert gello.broker.claim("me", ["default"], 1)  # type: ignore[attr-defined]
    assert still_open(tmp_path)
    gello.close()
    assert still_open(tmp_path) == []


def test_threads_that_push_first_on_a_new_file_all_find_tables(tmp_path: Path) -> None:
    @queueable
    def work(n: int) -> None: ...

    for number in range(5):
        gello = Gello(f"sqlite:///{tmp_path / f'{number}.db'}", jobs=[work])
        start = threading.Barrier(8)

        def push(gello: Gello = gello, start: threading.Barrier = start) -> None:
            start.wait()
            gello.queue.push(work, 1)

        threads = [threading.Thread(target=push) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gello.queue.size() == 8
        gello.close()


def test_threads_that_wait_for_a_locked_database_wait_no_longer_together_than_one_alone(tmp_path: Path) -> None:
    @queueable
    def work(n: int) -> None: ...

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.push(work, 0)
    took: list[float] = []

    def push() -> None:
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="locked by another process"):
            gello.queue.push(work, 1)
        took.append(time.monotonic() - began)

    with closing(sqlite3.connect(tmp_path / "gello.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=push) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.execute("ROLLBACK")
    assert len(took) == 5
    assert max(took) < 5
    gello.queue.push(work, 2)
    assert gello.queue.size() == 2
    gello.close()


@pytest.mark.parametrize(("said", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_the_promise_about_power_loss_reaches_every_connection(tmp_path: Path, said: str, level: int) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}", synchronous=said)
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == level
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
    database.close()


def test_the_wait_after_a_death_grows_and_the_job_is_not_ready_before(tmp_path: Path) -> None:
    @queueable
    def work(n: int) -> None: ...

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    broker = gello.broker
    assert isinstance(broker, DatabaseBroker)
    gello.queue.push(work, 1)
    waits = []
    for deaths in range(1, 4):
        (claim,) = broker.claim("victim", ["default"], 1)
        assert broker.mark([claim]) == [claim]
        before = int(time.time() * 1000)
        with broker.database.write() as connection:
            assert free(broker._sql, connection, owner_number("victim")) == 1
            row = connection.exec_driver_sql("SELECT state, available_at, deaths FROM queue_jobs").one()
            connection.exec_driver_sql("UPDATE queue_jobs SET state = 0")
        assert (row.state, row.deaths) == (DELAYED, deaths)
        waits.append((row.available_at - before) / 1000)
    # Jitter takes away half at most: see AFTER_DEATH.
    for wait, longest in zip(waits, (1, 2, 4), strict=True):
        assert longest / 2 <= wait <= longest + 0.5
    gello.close()


def test_closing_a_database_waits_for_a_connection_that_is_in_use(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    reading, done = threading.Event(), threading.Event()

    def read() -> None:
        with database.read():
            reading.set()
            time.sleep(0.3)
            done.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(5)
    database.close()
    assert done.is_set()
    assert still_open(tmp_path) == []
    reader.join()


def test_tables_that_are_newer_than_the_code_are_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    Migrator(database).install()
    with database.write() as connection:
        connection.exec_driver_sql("INSERT INTO queue_migrations VALUES (99, 0)")
    with pytest.raises(DatabaseUnavailable, match="version 99, this Gello knows 1; upgrade Gello"):
        Migrator(database).install()
    database.close()


def test_the_migrator_applies_each_version_once_and_in_order(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    applied: list[int] = []

    def second(connection: Any, tables: Any) -> None:
        applied.append(2)
        connection.exec_driver_sql("ALTER TABLE queue_jobs ADD COLUMN note TEXT")

    assert Migrator(database).status().version == 0
    assert [each.version for each in Migrator(database).install()] == [1]
    newer = Migrator(database, (*MIGRATIONS, Migration(2, "a note", second)))
    assert [each.version for each in newer.status().pending] == [2]
    assert [each.version for each in newer.install()] == [2]
    assert newer.install() == []
    assert applied == [2]
    database.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}")
    Migrator(database).install()

    def broken(connection: Any, tables: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE queue_jobs ADD COLUMN half TEXT")
        raise RuntimeError("no further")

    newer = Migrator(database, (*MIGRATIONS, Migration(2, "half a step", broken)))
    with pytest.raises(RuntimeError, match="no further"):
        newer.install()
    assert newer.status().version == 1
    assert "half" not in {column["name"] for column in inspect(database.engine).get_columns("queue_jobs")}
    database.close()


def test_many_that_install_at_once_install_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gello.db'}"
    applied: list[int] = []
    errors: list[BaseException] = []

    def install() -> None:
        database = Database(url)
        try:
            applied.append(len(Migrator(database).install()))
        except BaseException as error:  # noqa: BLE001 (shown by the assertion)
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=install) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(applied) == [0] * 7 + [1]


def test_the_printed_sql_makes_the_same_tables(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'gello.db'}", prefix="acme_")
    script = Migrator(database).sql()
    with closing(sqlite3.connect(tmp_path / "by-hand.db")) as connection:
        connection.executescript(script)
    by_hand = Database(f"sqlite:///{tmp_path / 'by-hand.db'}", prefix="acme_")
    assert Migrator(by_hand).status().pending == ()
    Migrator(database).install()
    names = [set(inspect(each.engine).get_table_names()) for each in (database, by_hand)]
    assert names[0] == names[1] == {f"acme_{name}" for name in
                                    ("queue_jobs", "failed_jobs", "queue_workers", "queue_migrations")}  # fmt: skip
    indexes = [
        {index["name"] for index in inspect(each.engine).get_indexes("acme_queue_jobs")} for each in (database, by_hand)
    ]
    assert indexes[0] == indexes[1]
    database.close()
    by_hand.close()


def test_metadata_serves_alembic(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'alembic.db'}")
    metadata("acme_").create_all(engine)
    assert "acme_queue_jobs" in inspect(engine).get_table_names()
    engine.dispose()


def test_a_prefix_is_used_by_everything(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work], table_prefix="acme_")
    gello.queue.push(work)
    gello.worker(stop_when_empty=True).run()
    assert gello.failed.count() == 0
    gello.close()


def test_a_schema_is_used_by_everything(tmp_path: Path) -> None:
    @queueable(max_attempts=1)
    def broken() -> None:
        raise ValueError

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work, broken], table_schema="queues")
    # A schema of SQLite's is an attached database.
    event.listen(
        gello.database.engine,
        "connect",
        lambda connection, _: connection.execute("ATTACH ? AS queues", (str(tmp_path / "queues.db"),)),
    )
    gello.queue.push(work)
    gello.queue.push(broken)
    gello.queue.later("1h", work)
    gello.worker(stop_when_empty=True).run()
    assert (gello.queue.size(), gello.queue.clear()) == (0, 1)
    assert gello.failed.retry_all() == 1
    assert (gello.queue.size(), gello.failed.count()) == (1, 0)
    gello.close()
    found = {}
    for file in ("gello.db", "queues.db"):
        with closing(sqlite3.connect(tmp_path / file)) as connection:
            found[file] = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert found["gello.db"] == set()
    assert {"queue_jobs", "failed_jobs", "queue_workers", "queue_migrations"} < found["queues.db"]


@pytest.mark.parametrize("prefix", ["a; DROP TABLE x", "ä", "1a", "a" * 40])
def test_a_prefix_that_is_no_plain_name_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidSetting, match="can't be part of a table's name"):
        tables(prefix)


def test_row_numbers_are_never_used_again(tmp_path: Path) -> None:
    """A lease names a row by its number: were it reused, a late settle would hit another job."""
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.push(work)
    first = gello.broker.claim("me", ["default"], 1)[0].key  # type: ignore[attr-defined]
    gello.worker(stop_when_empty=True).run()
    with closing(sqlite3.connect(tmp_path / "gello.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM queue_jobs")
    gello.queue.push(work)
    assert gello.broker.claim("me", ["default"], 1)[0].key > first  # type: ignore[attr-defined]
    gello.close()


def test_clear_of_thousands_goes_in_chunks_and_drops_them_all(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.bulk([work.job(n) for n in range(6000)])
    gello.queue.bulk([work.job(n) for n in range(500)], delay=60)
    assert gello.queue.clear() == 6500
    gello.close()


def test_an_idle_worker_sees_a_push_of_another_process_within_milliseconds(tmp_path: Path) -> None:
    ran: list[float] = []

    @queueable(name="work")
    def note(n: int) -> None:
        ran.append(time.monotonic())

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[note])
    other = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    worker = gello.worker(concurrency=1, queues=["default"])
    worker.start()
    time.sleep(0.3)
    waits = []
    for n in range(20):
        pushed = time.monotonic()
        other.queue.push(work, n)
        while len(ran) <= n:
            assert time.monotonic() - pushed < 5
            time.sleep(0.001)
        waits.append(ran[n] - pushed)
    worker.stop()
    assert sorted(waits)[10] < 0.25, "it watches; it doesn't poll once a second"
    gello.close()
    other.close()


def test_join_waits_for_a_queue_and_says_when_it_takes_too_long(tmp_path: Path) -> None:
    from dramatiq.errors import QueueJoinTimeout

    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    gello.queue.push(work)
    assert isinstance(gello.broker, DatabaseBroker)
    with pytest.raises(QueueJoinTimeout):
        gello.broker.join("default", timeout=50)
    gello.worker(stop_when_empty=True).run()
    gello.broker.join("default", timeout=1000)
    gello.broker.flush_all()
    gello.close()
