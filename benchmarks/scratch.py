"""Databases of a run."""

from __future__ import annotations

import tempfile

from .scenario import Run


def fresh_url(run: Run) -> str:
    """The URL of an SQLite database that isn't there yet."""
    return f"sqlite:///{tempfile.mkdtemp(dir=run.scratch)}/jobs.db"
