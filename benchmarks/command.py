"""Measures scenarios, round by round, and prints what came out: what the commands of the benchmarks have in common."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from . import report
from .pinning import pinned
from .scenario import Result, Round, Run, result

ROOT = Path(__file__).resolve().parent.parent


def main(command: str, about: str, names: Sequence[str], rounds: int = 3) -> None:
    """Run a command.

    Parameters:
      command: Its name, for its help.
      about: What it measures.
      names: Its scenarios, in their order.
      rounds: How often they are measured if nothing is said.
    """
    options = _options(command, about, names, rounds)
    with tempfile.TemporaryDirectory(prefix="gello-bench-") as scratch:
        run = Run(options.jobs or (4000 if options.quick else 20_000), options.quick, Path(scratch), options.pin)
        results: dict[str, list[Result]] = {}
        figures: dict[str, list[Round]] = {}
        progress = Console(stderr=True)
        for name in options.only or names:
            figures[name] = _rounds(name, run, options.rounds, progress)
            results[name] = [result(row, figures[name]) for row in importlib.import_module(_module(name)).ROWS]
    if options.json:
        print(json.dumps(report.as_json(results, figures), indent=2))
    else:
        report.show(Console(), results, options.rounds, run)


def _rounds(name: str, run: Run, rounds: int, progress: Console) -> list[Round]:
    """Measure a scenario's cases one after the other, and that several times: A B C A B C."""
    scenario = importlib.import_module(_module(name))
    rounds = min(rounds, getattr(scenario, "ROUNDS", rounds))
    measured: list[Round] = []
    for number in range(rounds):
        figures: dict[str, Any] = {}
        for case in scenario.CASES:
            with progress.status(f"{name}: {case}, round {number + 1} of {rounds}"), pinned(run, name, case):
                answer = _measure(name, case, run)
            if "missing" in answer:
                progress.print(f"{name}: {case} isn't measured: {answer['missing']}.")
            else:
                figures[case] = answer["figures"]
        measured.append(figures)
    if hasattr(scenario, "end"):
        scenario.end(run)
    return measured


def _measure(name: str, case: str, run: Run) -> dict[str, Any]:
    """Measure one case in a fresh process, so that nothing of another one is left in it."""
    told = json.dumps({"jobs": run.jobs, "quick": run.quick, "scratch": str(run.scratch), "pin": run.pin})
    command = [sys.executable, "-m", "benchmarks.child", name, case, told]
    done = subprocess.run(command, cwd=run.scratch, env=_environment(), stdout=subprocess.PIPE, text=True, timeout=600)
    if done.returncode != 0 or not done.stdout:
        # The other measurements are worth having all the same.
        return {"missing": f"it ended with {done.returncode}, and what it said stands above"}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _environment() -> dict[str, str]:
    """The environment without settings of Gello or Dramatiq, and with this package found from anywhere."""
    settings = ("QUEUE_", "REDIS_", "GELLO_", "DATABASE_URL", "dramatiq_")
    ours = "GELLO_BENCH_"
    kept = {name: value for name, value in os.environ.items() if name.startswith(ours) or not name.startswith(settings)}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path}


def _module(name: str) -> str:
    return f"benchmarks.scenarios.{name}"


def _options(command: str, about: str, names: Sequence[str], rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=command, description=about)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often everything is measured ({rounds})")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of: {', '.join(names)}")
    parser.add_argument("--jobs", type=int, help="how many jobs a backlog has (20,000)")
    parser.add_argument("--quick", action="store_true", help="smaller backlogs: a rough answer in less time")
    parser.add_argument(
        "--pin", action="store_true",
        help="keep single processes, and servers of this machine, on one core (Linux): steadier ratios",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON with all figures instead of the table")
    return parser.parse_args()
