"""SQLite's statements, as they are run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.errors import TablesMissing


@queueable(name="work")
def work(n: int) -> None: ...


def test_what_claiming_and_settling_run_neither_scans_nor_sorts(tmp_path: Path) -> None:
    file = tmp_path / "gello.db"
    ran: list[str] = []
    gello = Gello(f"sqlite:///{file}", jobs=[work])
    assert isinstance(gello.broker, DatabaseBroker)
    gello.queue.bulk([work.job(n) for n in range(2000)])
    gello.queue.bulk([work.job(n) for n in range(2000)], delay="1h")
    gello.broker.database.close()
    event.listen(
        gello.broker.database.engine, "connect", lambda connection, _: connection.set_trace_callback(ran.append)
    )
    claims = gello.broker.claim("me", ["default"], 256)
    assert gello.broker.settle(claims) == 0
    gello.close()
    statements = [statement for statement in ran if "queue_jobs" in statement]
    assert [statement.split()[0] for statement in statements[-3:]] == ["SELECT", "UPDATE", "DELETE"]
    with closing(sqlite3.connect(file)) as connection:
        plans = [row[3] for each in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {each}")]
    assert {plan for plan in plans if "SCAN queue_jobs" in plan or "TEMP B-TREE" in plan} == set()


def test_a_claim_without_its_table_says_what_is_missing(tmp_path: Path) -> None:
    gello = Gello(f"sqlite:///{tmp_path / 'gello.db'}", jobs=[work])
    assert isinstance(gello.broker, DatabaseBroker)
    gello.queue.push(work, 1)
    with gello.broker.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE queue_jobs")
    with (
        pytest.raises(TablesMissing, match="gello db install"),
        gello.broker.database.write() as connection,
    ):
        gello.broker._sql.claim(connection, 7, ["default"], 1)
    gello.close()
