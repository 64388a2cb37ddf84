"""What becomes of claimed rows, each under its fence: row number and lease, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from ...claim import Claim
from ...database.tables import DELAYED, READY
from ...errors import JobCrashed
from ...failed_jobs.record import record
from ...failed_jobs.sql import columns
from ...leases import AFTER_DEATH
from ...outcome import DONE, GIVEN_BACK, Kind
from .statements import Statements


def settle(sql: Statements, connection: Connection, claims: Sequence[Claim], writes_failures: bool) -> int:
    """Perform outcomes; returns how many came too late, so that they changed nothing."""
    gone: list[tuple[Any, ...]] = []
    given_back: list[tuple[Any, ...]] = []
    put_back: list[tuple[Any, ...]] = []
    failures: list[Claim] = []
    for claim in claims:
        outcome = claim.outcome or DONE
        fence = (claim.key, claim.lease)
        if outcome is GIVEN_BACK:
            given_back.append(fence)
        elif outcome.kind in (Kind.RELEASED, Kind.RETRIED):
            wait = outcome.delay // timedelta(milliseconds=1)
            put_back.append((DELAYED if wait else READY, wait, claim.remembering(), *fence))
        else:
            gone.append(fence)
            if outcome.kind is Kind.FAILED and writes_failures:
                failures.append(claim)
    # First the rows of failed jobs: they are read from the job's own row, which is still there.
    sql.run(connection, "keep_failed", [(*_columns(claim), claim.key, claim.lease) for claim in failures])
    settled = sql.done(connection, gone)
    settled += sql.run(connection, "give_back", given_back)
    settled += sql.run(connection, "put_back", put_back)
    stale = len(claims) - settled
    for claim in failures:
        # Of the stale ones, those are kept that were settled before, by a commit whose answer was lost.
        claim.kept = not stale or bool(sql.ask(connection, "kept", claim.message_id, claim.generation))
    return stale


def free(sql: Statements, connection: Connection, owner: int) -> int:
    """Free what a dead worker held; returns how many jobs. What was known to run is charged one death, and waits."""
    freed = []
    for key, lease, marked, deaths in sql.ask(connection, "owned", owner):
        wait = AFTER_DEATH.delay(deaths + 1, JobCrashed()) // timedelta(milliseconds=1) if marked else 0
        freed.append((DELAYED if wait else READY, wait, wait, deaths + bool(marked), key, lease))
    return sql.run(connection, "lost", freed)


def give_back_unknown(sql: Statements, connection: Connection, owner: int, known: set[Any]) -> None:
    """Give back the rows that a worker owns and doesn't know: the reply to their claim was lost."""
    rows = sql.ask(connection, "owned", owner)
    sql.run(connection, "give_back", [(row[0], row[1]) for row in rows if row[0] not in known])


def _columns(claim: Claim) -> tuple[Any, ...]:
    """A failed job's columns, but for those that are read from the job's own row."""
    row = columns(record(claim))
    return tuple(
        row[name] for name in ("generation", "reason", "exception", "traceback", "attempts", "payload", "failed_at")
    )
