"""What a worker costs that has nothing to do: its CPU time over five seconds, in per cent of a core."""

from __future__ import annotations

import time

from benchmarks.helper import Helper
from benchmarks.scenario import Figures, Row, Run, figure
from benchmarks.scratch import fresh_url

CASES = ("sqlite", "memory")
ROWS = (
    Row("an idle worker on SQLite, of a core", figure("sqlite", "share"), unit="%"),
    Row("an idle worker on memory, of a core", figure("memory", "share"), unit="%"),
)


def measure(case: str, run: Run) -> Figures:
    url = fresh_url(run) if case == "sqlite" else "memory://"
    with Helper("worker", url) as worker:
        worker.ask("go")
        # What starts with the first job is there from then on: the deadlines' watchdog.
        worker.ask("job")
        time.sleep(2)
        began, used = time.monotonic(), worker.ask("cpu")
        time.sleep(5)
        return {"share": 100 * (worker.ask("cpu") - used) / (time.monotonic() - began)}
