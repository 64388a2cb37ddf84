"""Shows the results: a table for people, or JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from .scenario import Result, Round, Run

Results = Mapping[str, Sequence[Result]]


def facts() -> dict[str, Any]:
    """What the machine is, and how busy it is: a loaded one distorts wall clocks."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "dramatiq": version("dramatiq"),
        "sqlalchemy": version("sqlalchemy"),
        "pydantic": version("pydantic"),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def show(console: Console, results: Results, rounds: int, run: Run) -> None:
    """Print the table, and under it what it was measured on."""
    table = Table("what", title="Gello, measured", title_justify="left")
    table.add_column("median", justify="right")
    table.add_column("min–max", justify="right")
    table.add_column("by CPU", justify="right")
    table.add_column("wanted", justify="right")
    table.add_column("met?", justify="center")
    for rows in results.values():
        table.add_section()
        for row in rows:
            table.add_row(*_cells(row), style="dim" if not row.numbers else None)
    console.print(table)
    console.print(
        f"Backlogs of {run.jobs:,} jobs, {rounds} round(s). A ratio is of one run, round by round; “×” more is better, "
        "unless the line says cost or time.",
        highlight=False,
    )
    console.print(", ".join(f"{name} {value}" for name, value in facts().items()), highlight=False)


def as_json(results: Results, figures: Mapping[str, Sequence[Round]]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "facts": facts(),
        "rows": [
            {
                "scenario": name,
                "what": each.row.what,
                "unit": each.row.unit,
                "median": each.median if each.numbers else None,
                "rounds": list(each.numbers),
                "by_cpu": list(each.by_cpu),
                "wanted": str(each.row.wanted) if each.row.wanted else None,
                "met": each.met,
            }
            for name, rows in results.items()
            for each in rows
        ],
        "figures": figures,
    }


def _cells(each: Result) -> list[str]:
    wanted = f"{each.row.wanted} {each.row.unit}".rstrip(" ×") if each.row.wanted else ""
    if not each.numbers:
        return [each.row.what, "–", "", "", wanted, ""]
    met = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[each.met]
    spread = f"{_number(min(each.numbers))}–{_number(max(each.numbers))}"
    cpu = _number(sorted(each.by_cpu)[len(each.by_cpu) // 2]) if each.by_cpu else ""
    return [each.row.what, f"{_number(each.median)} {each.row.unit}".rstrip(), spread, cpu, wanted, met]


def _number(number: float) -> str:
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.0f}"
