"""What sixteen worker processes do to one table: one backlog against two processes, and whether each job ran once.

The jobs note their numbers. The time runs from the first handler's start in any process until all have found nothing.
"""

from __future__ import annotations

from benchmarks.scenario import Figures, Row, Run, Wanted, compared, figure
from benchmarks.scenarios.processes import drained

ROUNDS = 1
COUNTS = {"two": 2, "sixteen": 16}
CASES = tuple(f"{kind}_{count}" for kind in ("postgresql", "mariadb") for count in COUNTS)
ROWS = tuple(
    row
    for kind, name in {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}.items()
    for row in (
        compared(f"sixteen processes / two, {name}, no-op", f"{kind}_sixteen", f"{kind}_two"),
        Row(f"sixteen processes, {name}: jobs lost", figure(f"{kind}_sixteen", "lost"), Wanted(at_most=0), ""),
        Row(f"sixteen processes, {name}: jobs run twice", figure(f"{kind}_sixteen", "twice"), Wanted(at_most=0), ""),
    )
)


def measure(case: str, run: Run) -> Figures:
    from benchmarks.jobs import numbered

    kind, _, count = case.partition("_")
    took, numbers = drained(kind, COUNTS[count], numbered, run)
    return {**took, "lost": run.jobs - len(set(numbers)), "twice": len(numbers) - len(set(numbers))}
