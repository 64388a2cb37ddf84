"""Measures whether Gello stays as fast with much to do, and in many hands: `python -m benchmarks.growth`."""

from __future__ import annotations

from .command import main

NAMES = ("backlog", "claims", "queues", "processes", "crowd", "held", "clearing")

if __name__ == "__main__":
    main("python -m benchmarks.growth", "Measure whether Gello stays as fast with much to do.", NAMES, rounds=2)
