"""How databases find rows: each statement stands on the index made for it, with and without statistics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from tests import servers

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN ", "mariadb": "EXPLAIN "}
STATISTICS = {"sqlite": "ANALYZE", "postgresql": "ANALYZE queue_jobs", "mariadb": "ANALYZE TABLE queue_jobs"}
PRIMARY = {"sqlite": "INTEGER PRIMARY KEY (rowid=?)", "postgresql": "queue_jobs_pkey", "mariadb": "PRIMARY"}
SORTS = ("TEMP B-TREE", "Sort", "filesort")
ALL_ROWS = ("SCAN queue_jobs", "Seq Scan", "'queue_jobs', 'ALL'")

Plan = Callable[..., str]


@queueable
def work(n: int) -> None: ...


@pytest.fixture(params=[(name, known) for name in EXPLAIN for known in (False, True)], ids=str)
def plan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plan]:
    """Explains a statement on 4,000 ready rows of two queues, 2,000 delayed ones and 500 that are held."""
    name, known = request.param
    url = f"sqlite:///{tmp_path / 'gello.db'}" if name == "sqlite" else servers.fresh(name)
    gello = Gello(url, jobs=[work])
    broker = gello.broker
    assert isinstance(broker, DatabaseBroker)
    for queue in ("default", "other"):
        gello.queue.bulk([work.job(n).on(queue) for n in range(2000)])
    gello.queue.bulk([work.job(n) for n in range(2000)], delay="1h")
    broker.claim("somebody", ["default"], 500)
    if known:
        with broker.database.read() as connection:
            connection.exec_driver_sql(STATISTICS[name])

    def explain(statement: str, *parameters: Any) -> str:
        with broker.database.read() as connection:
            text = broker._sql.sql[statement].replace(":ids", "1")
            rows = connection.exec_driver_sql(EXPLAIN[name] + text, parameters).all()
        return "; ".join(str(tuple(row)) for row in rows)

    explain.database = name  # type: ignore[attr-defined]
    yield explain
    gello.close()


def test_a_claim_reads_its_rows_in_the_order_of_the_index(plan: Plan) -> None:
    name: str = plan.database  # type: ignore[attr-defined]
    claims: dict[str, tuple[Any, ...]] = {
        "sqlite": ("claim", 7, "default", 256),
        "postgresql": ("claim", 7, ["default", "other"], [-32768, 0], [0, 1], [0, 2], 256, 256),
        "mariadb": ("first", "default", 256),
    }
    after = ("first_after", "default", -1, -1, 7, -1, 7, 7, 256)
    for claim in (claims[name], *([after] if name == "mariadb" else [])):
        found = plan(*claim)
        assert "queue_jobs_ready" in found
        assert not any(sort in found for sort in SORTS), "no sort: the index has the order"
        assert not any(scan in found for scan in ALL_ROWS)


def test_what_is_settled_is_found_by_its_row_number_and_nothing_else(plan: Plan) -> None:
    name: str = plan.database  # type: ignore[attr-defined]
    keys: Any = {"sqlite": ["[1]"], "postgresql": [[1]], "mariadb": []}[name]
    for found in (plan("done", 1, *keys), plan("put_back", 0, 0, b"", 1, 1), plan("begun", 1, 1)):
        assert PRIMARY[name] in found
        assert "queue_jobs_reserved" not in found


def test_what_is_cleared_is_found_by_the_index_of_its_state_and_dropped_by_its_row_number(plan: Plan) -> None:
    mysql = plan.database == "mariadb"  # type: ignore[attr-defined]
    for state, index in ((0, "ready"), (1, "delayed")):
        # Fewer than there are: of a small table PostgreSQL reads all.
        found = plan(f"clear_{state}", "default", 256)
        assert f"queue_jobs_{index}" in found
        assert not any(sort in found for sort in SORTS)
        assert not any(scan in found.replace("SCAN queue_jobs USING", "") for scan in ALL_ROWS)
        assert mysql or PRIMARY[plan.database] in found  # type: ignore[attr-defined]
    if mysql:
        assert PRIMARY["mariadb"] in plan("cleared")


def test_delayed_held_and_ready_jobs_are_found_by_the_index_of_their_state(plan: Plan) -> None:
    # MySQL's indexes hold every row, so that each costs every claim: what is held is found by its state alone.
    held = "ready" if plan.database == "mariadb" else "reserved"  # type: ignore[attr-defined]
    for statement, parameters, index in (
        ("due", (), "delayed"), ("promote", (), "delayed"), ("owned", (7,), held),
        ("any_ready", ("default",), "ready"), ("ready_queues", (), "ready"),
    ):  # fmt: skip
        found = plan(statement, *parameters)
        assert f"queue_jobs_{index}" in found, statement
        assert not any(scan in found for scan in ALL_ROWS), statement
    assert f"queue_jobs_{held}" in plan("owners")


@pytest.mark.parametrize("name", EXPLAIN)
def test_all_of_1500_queues_are_found_soon(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gello.db'}" if name == "sqlite" else servers.fresh(name)
    gello = Gello(url, jobs=[work])
    queues = {f"queue-{n}" for n in range(1500)}
    gello.queue.bulk([work.job(n).on(queue) for queue in queues for n in range(4)])
    assert isinstance(gello.broker, DatabaseBroker)
    before = time.monotonic()
    assert queues <= gello.broker.ready_queues()
    assert time.monotonic() - before < 2
    gello.close()


def test_where_statistics_saw_few_ready_jobs_a_claim_sorts_no_backlog() -> None:
    gello = Gello(servers.fresh("postgresql"), jobs=[work])
    broker = gello.broker
    assert isinstance(broker, DatabaseBroker)
    gello.queue.bulk([work.job(n) for n in range(4000)], delay="1h")
    gello.queue.bulk([work.job(n) for n in range(1000)])
    with broker.database.read() as connection:
        connection.exec_driver_sql(STATISTICS["postgresql"])
    gello.queue.bulk([work.job(n) for n in range(8000)])
    with broker.database.read() as connection:
        asked = (7, ["default"], [-32768], [0], [0], 1024, 1024)
        rows = connection.exec_driver_sql("EXPLAIN (ANALYZE) " + broker._sql.sql["claim"], asked).scalars()
        found = "\n".join(rows)
    assert "Index Scan using queue_jobs_ready" in found
    assert not any(sort in found for sort in SORTS)
    gello.close()
