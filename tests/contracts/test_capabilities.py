"""The table of docs/brokers.md, against the brokers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.errors import InvalidSetting, Unsupported

from .conftest import ALL, Bench, on

PAGE = Path(__file__).parents[2] / "docs" / "brokers.md"
COLUMNS = {
    "memory": "memory", "sync": "sync", "sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB",
    "redis": "Redis", "stub": "a stock broker",
}  # fmt: skip


@queueable
def work() -> None: ...


def sizes(app: Gello) -> object:
    return [app.queue.size(state=state) for state in ("ready", "delayed", "reserved")]  # type: ignore[arg-type]


def clear(app: Gello) -> object:
    return app.queue.clear()


def push_within(app: Gello) -> object:
    with pytest.raises(InvalidSetting, match="takes a SQLAlchemy Connection"):
        app.queue.within(object()).push(work)
    return None


CHECKS: dict[str, Callable[[Gello], object]] = {
    "sizes: ready, delayed, reserved": sizes,
    "`clear`": clear,
    "push in your transaction": push_within,
}


def table() -> dict[tuple[str, str], str]:
    """What each row says of each column."""
    lines = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("|")]
    (_, *columns), _, *rows = [[cell.strip() for cell in line] for line in lines]
    return {(row[0], column): said for row in rows for column, said in zip(columns, row[1:], strict=True)}


@on(*ALL)
@pytest.mark.parametrize("row", CHECKS)
def test_a_broker_can_what_the_table_says_and_nothing_else(bench: Bench, row: str) -> None:
    app = bench.app(work)
    said = table()[row, COLUMNS[bench.broker]]
    assert said in ("yes", "no")
    if said == "yes":
        CHECKS[row](app)
    else:
        with pytest.raises(Unsupported):
            CHECKS[row](app)
