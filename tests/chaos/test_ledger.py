"""The ledger finds what it is for: a check that can't fail would prove nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.ledger import Event, Fault, Ledger, Pushes

PUSHED = [f"job-{n}" for n in range(4)]


def history(*events: tuple[str, str, int, float]) -> list[Event]:
    return [Event(what, "key", job, pid, at) for what, job, pid, at in events]


DONE = [(what, job, 1, at) for what, at in (("start", 1.0), ("finish", 2.0)) for job in PUSHED]
AGAIN = [("start", "job-0", 2, 9.0), ("finish", "job-0", 2, 9.5)]


def ledger(events: list[tuple[str, str, int, float]], **others: Any) -> Ledger:
    pushes = Pushes()
    pushes.tried, pushes.done = {*PUSHED, "unsure"}, {*PUSHED}
    return Ledger(pushes, history(*events), **others)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (ledger([e for e in DONE if e[:2] != ("finish", "job-3")]), "lost"),
        (ledger([*DONE, ("start", "alien", 1, 1.0)]), "never pushed"),
        (ledger(DONE, waiting=["unsure", "unsure"]), "twice in the queue"),
        (ledger(DONE, waiting=["job-1"]), "still in the queue"),
        (ledger(DONE, failed=["job-1"]), "more often than it began"),
        (ledger(DONE + AGAIN + [("start", "job-0", 3, 9.0)]), "more often than faults"),
        (ledger(DONE + AGAIN), "no fault hit it"),
        (ledger(DONE + AGAIN, faults=[Fault(1.5, 2)]), "no fault hit it"),
        (ledger(DONE + AGAIN, faults=[Fault(0.9, 1), Fault(2.6, 1)]), "no fault hit it"),
    ],
)
def test_what_is_wrong_with_a_history_is_found(made: Ledger, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        made.check(again=1)


@pytest.mark.parametrize(
    "made",
    [
        ledger(DONE),
        ledger([*DONE, ("start", "unsure", 1, 1.0)], failed=["unsure"]),
        ledger(DONE, waiting=["unsure"]),
        ledger(DONE + AGAIN, faults=[Fault(2.4, 1)]),
        ledger(DONE + AGAIN, faults=[Fault(1.0)]),
    ],
)
def test_a_history_of_what_may_happen_passes(made: Ledger) -> None:
    made.check(again=1)
