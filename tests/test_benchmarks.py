"""The benchmarks run: each scenario's cheapest case, on a handful of jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CASES = [
    ("throughput", "sqlite"), ("processes", "sqlite_one"), ("pickup", "sqlite"), ("pushes", "sqlite_bulk"),
    ("queues", "sqlite_many"), ("clearing", "sqlite_clear"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "case"), CASES)
def test_a_case_gives_figures(scenario: str, case: str, tmp_path: Path) -> None:
    run = json.dumps({"jobs": 400, "quick": True, "scratch": str(tmp_path)})
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", scenario, case, run], capture_output=True, text=True, check=True
    )
    figures = json.loads(child.stdout)["figures"]
    assert figures
    assert all(isinstance(figure, int | float) for figure in figures.values())
