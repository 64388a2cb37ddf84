"""A server in a zone whose hour comes twice when summer time ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator
from tests.chaos.test_servers_restart import MariaDBServer

pytestmark = pytest.mark.slow

FIRST, SECOND = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
"""Both are half past two in Berlin."""


@queueable
def work(n: int) -> None: ...


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A program's own engine, on a MariaDB that lives in Berlin and has Gello's tables."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    with tempfile.TemporaryDirectory(prefix="gello-server-", ignore_cleanup_errors=True) as folder:
        server = MariaDBServer(Path(folder))
        server.start()
        engine = create_engine(read_url(server.url))
        try:
            database = Database(server.url)
            Migrator(database).install()
            database.close()
            yield engine
        finally:
            engine.dispose()
            server.crash()


def test_a_push_in_the_callers_transaction_is_due_at_its_time_in_the_hour_that_comes_twice(berlin: Engine) -> None:
    gello = Gello(berlin.url.render_as_string(), jobs=[work])
    for moment in (FIRST, SECOND):
        with berlin.begin() as connection:
            connection.exec_driver_sql("DELETE FROM queue_jobs")
            connection.exec_driver_sql(f"SET timestamp = {moment.timestamp():.0f}")
            gello.queue.within(connection).push(work, 1)
            due = connection.exec_driver_sql("SELECT available_at FROM queue_jobs").scalar_one()
        assert due == moment.timestamp() * 1000
    gello.close()
