"""How an idle worker learns that there is work."""

from __future__ import annotations

from typing import Protocol

from ...database.engine import Database

SOON, SELDOM = 0.005, 0.1
"""Seconds between two looks: right after there was work, and when there was none for a while."""


class Watcher(Protocol):
    """Looks at a database for an idle worker."""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        ...

    def changed(self) -> bool:
        """Whether there may be jobs that were not there at the last look."""
        ...

    def due(self) -> bool:
        """Whether a delayed job's time has come."""
        ...

    def busy(self) -> None:
        """There was work: look again soon."""
        ...

    def close(self) -> None:
        """Look no more."""
        ...


class Polling:
    """Asks the database itself, less and less often while there is nothing.

    Parameters:
      database: Where.
      due: Asks whether a delayed job's time has come.
      seldom: Seconds between two looks at the most.
    """

    def __init__(self, database: Database, due: str, seldom: float = SELDOM) -> None:
        self._database = database
        self._due = due
        self._pause = SOON
        self._seldom = seldom

    @property
    def pause(self) -> float:
        return self._pause

    def changed(self) -> bool:
        # A claim finds out: asking first would be one more question.
        self._pause = min(self._pause * 2, self._seldom)
        return True

    def due(self) -> bool:
        with self._database.read() as connection:
            return connection.exec_driver_sql(self._due).first() is not None

    def busy(self) -> None:
        self._pause = SOON

    def close(self) -> None:
        """Nothing is held."""
