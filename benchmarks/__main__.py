"""Runs the measurements and prints what came out: `python -m benchmarks`."""

from __future__ import annotations

from .command import main

NAMES = ("throughput", "processes", "pickup", "claims", "delayed", "starts", "pushes", "idle")

if __name__ == "__main__":
    main("python -m benchmarks", "Measure Gello against stock Dramatiq.", NAMES)
