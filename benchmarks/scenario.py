"""What a scenario is made of: cases that are measured one by one, and rows that compare them.

A scenario is a module with `CASES`, the names of what is measured; `measure(case, run)`, which measures one of them in
a process of its own and returns its figures; and `ROWS`, each of which makes one number out of a round's figures.
One that takes minutes may have `ROUNDS`: how often it is measured at most; one that keeps something from round to round
has `end(run)`, which takes it away.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Figures = Mapping[str, float]
Round = Mapping[str, Figures]
"""The figures of each case in one round. A case that couldn't be measured is missing."""

THREADS = 8


class NotMeasured(Exception):
    """A case can't be measured here, for a reason that a person can read."""


@dataclass(frozen=True)
class Run:
    """What every measurement of a run is told.

    Attributes:
      jobs: How many jobs a backlog has.
      quick: Whether a rough answer will do.
      scratch: A directory that lives as long as the run.
      pin: Whether what runs in one process stays on one core, and its server too.
    """

    jobs: int
    quick: bool
    scratch: Path
    pin: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a number should be."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, number: float) -> bool:
        if self.at_least is not None:
            return number >= self.at_least
        return self.at_most is None or number <= self.at_most

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      what: What is measured, against what.
      number: Makes the number from the figures of one round.
      wanted: What it should be; None is a row that only informs.
      unit: What it is counted in; "×" is a ratio.
      by_cpu: The same ratio by CPU time per job, which other programs on the machine distort less.
    """

    what: str
    number: Callable[[Round], float]
    wanted: Wanted | None = None
    unit: str = "×"
    by_cpu: Callable[[Round], float] | None = None


@dataclass(frozen=True)
class Result:
    """A row after all rounds: the median, the extremes, and the median by CPU time."""

    row: Row
    numbers: Sequence[float]
    by_cpu: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.numbers)

    @property
    def met(self) -> bool | None:
        """Whether the median is what is wanted; None where nothing is wanted or nothing was measured."""
        return self.row.wanted.met(self.median) if self.row.wanted and self.numbers else None


def result(row: Row, rounds: Sequence[Round]) -> Result:
    """Make a row's numbers, from those rounds in which all its cases were measured."""
    return Result(row, _numbers(row.number, rounds), _numbers(row.by_cpu, rounds) if row.by_cpu else [])


def _numbers(number: Callable[[Round], float], rounds: Sequence[Round]) -> list[float]:
    found = []
    for each in rounds:
        try:
            found.append(number(each))
        except KeyError:
            continue
    return found


def rate_over(case: str, base: str) -> Callable[[Round], float]:
    """How many times as fast a case is as another, by the wall clock."""
    return lambda figures: figures[base]["seconds"] / figures[case]["seconds"]


def cpu_over(case: str, base: str) -> Callable[[Round], float]:
    """How many times as fast a case is as another, by CPU time."""
    return lambda figures: figures[base]["cpu"] / figures[case]["cpu"]


def compared(what: str, case: str, base: str, wanted: Wanted | None = None) -> Row:
    """A row that says how many times as fast a case is as another, by the wall clock and by CPU time."""
    return Row(what, rate_over(case, base), wanted, by_cpu=cpu_over(case, base))


def figure(case: str, name: str) -> Callable[[Round], float]:
    """A figure of a case as it is."""
    return lambda figures: figures[case][name]
