"""Pushes that are part of the caller's transaction: there when it commits, and never if it doesn't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import read_url
from gello_dramatiq.errors import InvalidSetting, Unsupported
from gello_dramatiq.testing import fake
from tests import servers
from tests.contracts.conftest import DURABLE, SERVERS, Bench, on, wait_for

Begin = Callable[[], Connection | Session]


@queueable(max_attempts=1)
def work(n: int) -> None: ...


@pytest.fixture(params=[Connection, Session], ids=["connection", "session"])
def begin(request: pytest.FixtureRequest, bench: Bench) -> Iterator[Begin]:
    """Begins a transaction of an engine that is the caller's own."""
    engine = create_engine(read_url(bench.url))
    yield engine.connect if request.param is Connection else lambda: Session(engine)
    engine.dispose()


@on(*DURABLE)
def test_what_is_pushed_within_a_transaction_is_there_when_it_commits_and_not_before(
    bench: Bench, begin: Begin
) -> None:
    app = bench.app(work)
    app.queue.size()
    with closing(begin()) as transaction:
        pushed = app.queue.within(transaction).push(work, 1)
        with app.within(transaction):
            work.on("other").push(2)
            work.later("1h", 3)
        assert [app.queue.size(), app.queue.size("other"), app.queue.size(state="delayed")] == [0, 0, 0]
        transaction.commit()
    assert [app.queue.size(), app.queue.size("other"), app.queue.size(state="delayed")] == [1, 1, 1]
    (claim,) = app.broker.claim("me", ["default"], 9)  # type: ignore[attr-defined]
    assert (claim.message_id, claim.kwargs) == (pushed.id, {"n": 1})


@on(*DURABLE)
def test_what_is_pushed_within_a_transaction_that_rolls_back_was_never_pushed(bench: Bench, begin: Begin) -> None:
    app = bench.app(work)
    app.queue.size()
    with closing(begin()) as transaction:
        app.queue.within(transaction).bulk([work.job(n) for n in range(10)])
        transaction.rollback()
    assert app.queue.size() == 0


HEARD = 0.25
"""Seconds; who only looks takes up a job within a second on PostgreSQL, and on MariaDB within a tenth."""


@pytest.mark.slow
@on(*SERVERS)
def test_an_idle_worker_hears_of_the_commit_and_begins_nothing_before(bench: Bench, begin: Begin) -> None:
    ran: list[float] = []

    @queueable(name="work")
    def note(n: int) -> None:
        ran.append(time.monotonic())

    app = bench.app(note)
    worker = bench.worker(app, concurrency=1, queues=["default"])
    worker.start()
    for pushed in range(1, 4):
        with closing(begin()) as transaction:
            app.queue.within(transaction).push(note, pushed)
            time.sleep(1.3)  # so that the worker has looked, and found nothing for a while
            assert len(ran) == pushed - 1
            committed = time.monotonic()
            transaction.commit()
        wait_for(lambda pushed=pushed: len(ran) == pushed)  # type: ignore[misc]
        assert ran[-1] - committed < HEARD
    worker.stop()


@on("postgresql")
def test_an_async_session_gives_its_synchronous_one(bench: Bench) -> None:
    app = bench.app(work)

    async def push() -> None:
        engine = create_async_engine(read_url(bench.url))
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            await session.run_sync(lambda sync: app.queue.within(sync).push(work, 1))
            await session.commit()
            await session.run_sync(lambda sync: app.queue.within(sync).push(work, 2))
        async with engine.connect() as connection:
            await connection.run_sync(lambda sync: app.queue.within(sync).push(work, 3))
            await connection.commit()
        await engine.dispose()

    asyncio.run(push())
    assert app.queue.size() == 2


@on("postgresql")
@pytest.mark.parametrize("kind", ["AsyncSession", "AsyncConnection", "Engine"])
def test_what_is_no_transaction_is_refused_with_the_way_to_give_one(bench: Bench, kind: str) -> None:
    app = bench.app(work)
    engine = create_async_engine(read_url(bench.url))
    given = {"AsyncSession": AsyncSession(engine), "AsyncConnection": engine.connect(), "Engine": engine.sync_engine}[
        kind
    ]
    with pytest.raises(InvalidSetting, match=f"a SQLAlchemy Connection or Session, not {kind}; .*run_sync"):
        app.queue.within(given).push(work, 1)
    assert app.queue.size() == 0


@on(*DURABLE)
def test_no_transaction_is_refused_instead_of_pushed_at_once(bench: Bench) -> None:
    app = bench.app(work)
    with pytest.raises(InvalidSetting, match="give a SQLAlchemy Connection or Session"):
        app.queue.within(None)
    with pytest.raises(InvalidSetting, match="give a SQLAlchemy Connection or Session"), app.within(None):
        work.push(1)
    assert app.queue.size() == 0


@on("postgresql", "mariadb")
def test_a_connection_that_commits_each_statement_by_itself_is_refused(bench: Bench) -> None:
    app = bench.app(work)
    engine = create_engine(read_url(bench.url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, pytest.raises(InvalidSetting, match="AUTOCOMMIT: it has no transaction"):
        app.queue.within(connection).push(work, 1)
    assert app.queue.size() == 0
    engine.dispose()


def test_a_broker_without_a_database_says_that_it_cannot() -> None:
    app = Gello("memory://", jobs=[work])
    with pytest.raises(Unsupported, match="The memory broker keeps no jobs in a database"):
        app.queue.within(object()).push(work, 1)
    app.close()


@on("postgresql")
def test_a_transaction_of_another_kind_of_database_is_refused(bench: Bench, begin: Begin, tmp_path: Path) -> None:
    app = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    with closing(begin()) as transaction, pytest.raises(InvalidSetting, match="and the jobs are in sqlite"):
        app.queue.within(transaction).push(work, 1)
    app.close()


def spelled(bench: Bench, how: str, tmp_path: Path) -> Engine:
    """An engine of the caller's own for the bench's database, with another URL."""
    url = read_url(bench.url)
    if how == "another name of the host":
        return create_engine(url.set(host="localhost"))
    if how == "mysql for mariadb":
        return create_engine(url.set(drivername="mysql+pymysql", host="localhost"))
    if how == "another path":
        (tmp_path / "link").symlink_to(tmp_path)
        return create_engine(f"sqlite:///{tmp_path / 'link' / 'gello.db'}")
    dialect = url.get_dialect()
    driver = dialect(dbapi=dialect.import_dbapi())
    where, how_to = driver.create_connect_args(url)
    return create_engine(f"{url.drivername}://", creator=lambda: driver.connect(*where, **how_to))


@pytest.mark.parametrize(
    ("bench", "how"),
    [
        ("sqlite", "another path"),
        ("sqlite", "no URL at all"),
        ("postgresql", "another name of the host"),
        ("postgresql", "no URL at all"),
        ("mariadb", "another name of the host"),
        ("mariadb", "mysql for mariadb"),
        ("mariadb", "no URL at all"),
    ],
    indirect=["bench"],
)
def test_a_transaction_of_the_same_database_is_taken_however_its_url_is_written(
    bench: Bench, how: str, tmp_path: Path
) -> None:
    app = bench.app(work)
    app.queue.size()
    engine = spelled(bench, how, tmp_path)
    with engine.connect() as connection:
        app.queue.within(connection).push(work, 1)
        connection.commit()
    engine.dispose()
    assert app.queue.size() == 1


@on(*DURABLE)
def test_a_transaction_of_another_database_of_the_same_kind_is_refused_without_its_password(
    bench: Bench, tmp_path: Path
) -> None:
    app = bench.app(work)
    other = read_url(f"sqlite:///{tmp_path / 'other.db'}" if bench.broker == "sqlite" else servers.ADMIN[bench.broker])
    # MariaDB compares the password, PostgreSQL trusts.
    engine = create_engine(other.update_query_dict({"password": "secret"}) if bench.broker == "postgresql" else other)
    with engine.connect() as connection, pytest.raises(InvalidSetting, match="they can't commit together") as refused:
        app.queue.within(connection).push(work, 1)
    engine.dispose()
    assert str(other.database) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_fake_records_what_is_pushed_within_a_transaction() -> None:
    app = Gello("memory://", jobs=[work])
    with fake() as pushes:
        app.queue.within(object()).push(work, 1)
    pushes.assert_pushed(work, times=1)
    app.close()
