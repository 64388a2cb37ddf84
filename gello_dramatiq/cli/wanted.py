"""Which failed jobs a command is about."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..app import Gello
    from ..database.engine import Database
    from ..failed_jobs.failed_jobs import FailedJobs


def wanted(*, since: str | None, before: str | None, **said: Any) -> dict[str, Any]:
    """The filters that were given, as `FailedJobs` takes them.

    Raises:
      InvalidSetting: A moment can't be read.
    """
    moments = {"since": moment("--since", since), "before": moment("--before", before)}
    return {name: value for name, value in {**said, **moments}.items() if value is not None}


def moment(flag: str, text: str | None) -> datetime | None:
    """A moment as people write it: a date and time, in local time unless it says otherwise, or how long ago."""
    from ..durations import duration
    from ..errors import InvalidDuration, InvalidSetting
    from .flags import named

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        pass
    try:
        return datetime.now(UTC) - duration(text)
    except (InvalidDuration, OverflowError):
        raise InvalidSetting(
            f'{named(flag)} {text!r} is no moment: give a date ("2026-01-31" or "2026-01-31 14:00") or how long ago '
            '("2h").'
        ) from None


def kept(gello: Gello) -> FailedJobs:
    """The failed jobs of an app, if another process can see them at all.

    Raises:
      Unsupported: They live in the memory of the process in which they failed.
      DatabaseUnavailable: Their database isn't there yet.
    """
    from ..errors import Unsupported
    from ..failed_jobs.memory import MemoryFailedJobs

    if isinstance(gello.failed.store, MemoryFailedJobs):
        raise Unsupported(
            "This app keeps failed jobs in the memory of the process in which they failed, where no command can see "
            "them. Give it a database: DATABASE_URL=sqlite:///gello.db."
        )
    look_at(gello.database)
    return gello.failed


def look_at(database: Database | None) -> None:
    """Refuse to look into an SQLite file that isn't there, which a look would make.

    Raises:
      DatabaseUnavailable: Nothing was pushed yet, or this is the wrong folder.
    """
    from ..errors import DatabaseUnavailable

    if database is not None and not database.exists:
        raise DatabaseUnavailable(
            f"There is no {os.path.abspath(str(database.url.database))} yet: nothing was pushed, or this is the wrong "
            "folder. The first push makes it, as `gello db install` does."
        )
