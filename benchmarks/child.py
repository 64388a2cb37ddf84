"""Measures one case in a process of its own: `python -m benchmarks.child SCENARIO CASE RUN`; the answer is JSON."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from .pinning import pin
from .scenario import NotMeasured, Run


def main(scenario: str, case: str, told: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    values: dict[str, Any] = json.loads(told)
    run = Run(**{**values, "scratch": Path(values["scratch"])})
    if run.pin:
        pin(scenario)
    answer: dict[str, Any]
    try:
        answer = {"figures": importlib.import_module(f"benchmarks.scenarios.{scenario}").measure(case, run)}
    except NotMeasured as reason:
        answer = {"missing": str(reason)}
    print(json.dumps(answer), flush=True)
    # Workers that were measured are not worth a graceful end.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
