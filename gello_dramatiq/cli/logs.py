"""How a worker's log looks: a line for each thing that happens."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from .output import console, is_unicode, visible

if TYPE_CHECKING:
    from ..app import Gello

Level = Literal["debug", "info", "warning", "error"]
JOB_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red"}


def configure(gello: Gello, level: Level, *, as_json: bool) -> None:
    """Write the process's log to stdout: as JSON lines, in colour for a terminal, or as plain text."""
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonLines())
    elif sys.stdout.isatty():
        handler = Terminal()
    else:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(Lines("%(asctime)s %(process)d %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # A reader that has gone (`gello work | head`) must not make each further line a traceback.
    logging.raiseExceptions = False
    if level != "debug":
        # At each failure Dramatiq writes a traceback, in Gello's jobs before it is known what comes of it. The job's
        # own line says what went wrong, and the traceback is kept with the failed job.
        logging.getLogger("dramatiq.worker.WorkerThread").addFilter(lambda record: not _told(gello, record))


class Lines(logging.Formatter):
    """Plain text."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "gello", {}), ensure_ascii=not is_unicode(), default=str)


class Terminal(logging.Handler):
    """Lines for a person: the time, what happened, and its colour where it asks for attention."""

    def __init__(self) -> None:
        super().__init__()
        self._console = console()
        self._plain = Lines()

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        try:
            text = Text(visible(record.getMessage()), style=STYLES.get(record.levelno, ""))
            text.highlight_regex(JOB_ID, "dim")
            text.highlight_regex(r"\bdone\b", "green")
            if record.exc_info:
                text.append("\n" + self._plain.formatException(record.exc_info), style="dim")
            stamp = f"{datetime.fromtimestamp(record.created):%H:%M:%S}  "  # noqa: DTZ006 (a person's local time)
            lines = text.wrap(self._console, max(self._console.width - len(stamp), 40))
            hanging = Text("\n" + " " * len(stamp)).join(lines)
            self._console.print(Text.assemble((stamp, "dim"), hanging), soft_wrap=True)
        except Exception:  # noqa: BLE001 (what can't be logged must not stop a worker)
            self.handleError(record)


def _told(gello: Gello, record: logging.LogRecord) -> bool:
    """Whether a record of Dramatiq's is about a job of Gello's, which tells its failures itself."""
    from ..actor import JobActor

    if not isinstance(record.args, tuple) or not record.args:
        return False
    actor = gello.broker.actors.get(getattr(record.args[0], "actor_name", ""))
    return isinstance(actor, JobActor)
