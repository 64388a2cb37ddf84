"""The story that the demo tells: push, work, kill a worker, look at the books, mend, retry, look again."""

from __future__ import annotations

import csv
import os
import tempfile
import time
from collections.abc import Callable, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.mailer import jobs
from examples.mailer.accounting import Books, Pushes
from examples.mailer.place import place
from examples.mailer.processes import WorkerProcesses
from examples.mailer.screen import Screen
from examples.mailer.server import HOST, MailServer, serving
from gello_dramatiq import FailedJob, Gello, InvalidPayload

USERS = Path(__file__).with_name("users.csv")
WORKERS = 2
LEASE = "3s"
"""How long a worker's silence lasts before its jobs are given to others; short, so that the story doesn't drag."""
QUEUES = ("emails", "reports")
LOOK = 0.05
"""Seconds between two looks at the queues."""
QUIET_LOOKS = 5
"""How many looks in a row must find nothing: a job on its way from one state to another is missed by a single one."""
PATIENCE = 60
"""Seconds after which the story goes on whatever is left; the books then tell what is missing."""


@dataclass(frozen=True)
class Result:
    """How the story ended.

    Attributes:
      pushes: What became of the rows.
      first: The books before the failed jobs were retried.
      retried: The books of those that were retried.
      last: The books of all mails, at the end.
      killed: The process id of the killed worker.
      report: The subject of the report that arrived; None if none did.
      seconds: How long it took.
    """

    pushes: Pushes
    first: Books
    retried: Books
    last: Books
    killed: int
    report: str | None
    seconds: float

    @property
    def good(self) -> bool:
        return self.first.balanced and self.last.balanced and self.report is not None

    def summary(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "good": self.good,
            "rows": self.pushes.rows,
            "refused": self.pushes.refused.total(),
            "refused_because": dict(self.pushes.refused.most_common()),
            "accepted": len(self.pushes.accepted),
            "first": self.first.summary(),
            "retried": self.retried.summary(),
            "last": self.last.summary(),
            "killed_pid": self.killed,
            "report": self.report,
            "seconds": round(self.seconds, 1),
        }


def read_users(count: int) -> list[dict[str, Any]]:
    """The first rows of the file, as they are."""
    with USERS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[:count]


def tell(users: int, screen: Screen, broker: str = "sqlite") -> Result:
    """Tell the story with so many users, in a directory and a database that are gone afterwards."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="gello-mailer-"))
        server = MailServer()
        port = stack.enter_context(serving(server))
        _set_environment(stack.enter_context(place(broker, Path(directory))), port)
        # Imported here, because an app reads its settings when it is made.
        from examples.mailer.app import gello

        stack.callback(gello.close)
        screen.opening(users, HOST, port)
        return Story(gello, server, screen, Path(directory)).tell(read_users(users))


class Story:
    """One run of the demo.

    Parameters:
      gello: The mailer's app.
      server: Where its mails go.
      screen: What a person sees.
      directory: For the workers' logs.
    """

    def __init__(self, gello: Gello, server: MailServer, screen: Screen, directory: Path) -> None:
        self._gello = gello
        self._server = server
        self._screen = screen
        self._directory = directory

    def tell(self, rows: list[dict[str, Any]]) -> Result:
        began = time.monotonic()
        pushes = self._push(rows)
        with WorkerProcesses(WORKERS, self._directory) as workers:
            killed = self._work(pushes, workers)
            first = self._books(pushes.accepted)
            self._screen.first_books(pushes, first, killed)
            retried = self._retry(first, workers)
            last = self._books(pushes.accepted)
            report = self._report(last, workers)
        return Result(pushes, first, retried, last, killed, report, time.monotonic() - began)

    def _push(self, rows: list[dict[str, Any]]) -> Pushes:
        pushes = Pushes()
        for row in rows:
            try:
                jobs.send_welcome_email.push(**row)
            except InvalidPayload as error:
                pushes.refused[str(error).partition(": ")[2]] += 1
            else:
                pushes.accepted.add(int(row["user_id"]))
        self._screen.pushed(pushes)
        return pushes

    def _work(self, pushes: Pushes, workers: WorkerProcesses) -> int:
        """Let the workers work, and kill one half-way; returns its process id."""
        total, killed = len(pushes.accepted), 0
        self._screen.working(workers.pids)
        with self._screen.bar(total) as bar:

            def look() -> None:
                nonlocal killed
                delivered, failed = len(self._server.welcomed()), self._gello.failed.count()
                bar(delivered, failed, self._count("delayed"), self._count("reserved"))
                if not killed and delivered + failed >= total / 2:
                    killed = workers.kill_first()
                    self._screen.killed(killed, LEASE)

            self._wait(workers, look)
        return killed

    def _retry(self, books: Books, workers: WorkerProcesses) -> Books:
        """End the outage and retry what failed; returns the books of these."""
        self._server.outage = False
        count = self._gello.failed.retry_all()
        self._wait(workers)
        after = self._books(books.accepted)
        put_back = books.failed.keys()
        retried = Books(
            accepted=set(put_back),
            welcomed={user: times for user, times in after.welcomed.items() if user in put_back},
            late=after.late & put_back,
            failed=after.failed,
        )
        self._screen.second_books(count, retried, after)
        return retried

    def _report(self, books: Books, workers: WorkerProcesses) -> str | None:
        """Push the report; returns the subject that arrived."""
        jobs.SendReport(to="team@example.com", delivered=len(books.delivered), failed=len(books.failed)).push()
        self._wait(workers)
        subject = self._server.subjects.get("report")
        if subject is not None:
            self._screen.reported(subject)
        return subject

    def _books(self, accepted: Set[int]) -> Books:
        failed = self._gello.failed.all(limit=None, queue="emails")
        late = {int(name.removeprefix("welcome-")) for name in self._server.late if name != "report"}
        reasons = {job.payload["user_id"]: _reason(job) for job in failed if job.payload}
        return Books(accepted, self._server.welcomed(), late, reasons)

    def _wait(self, workers: WorkerProcesses, look: Callable[[], None] = lambda: None) -> None:
        """Wait until the queues hold nothing, and look at each turn."""
        until, quiet = time.monotonic() + PATIENCE, 0
        while quiet < QUIET_LOOKS and time.monotonic() < until:
            workers.check()
            look()
            quiet = 0 if any(self._count(state) for state in ("ready", "delayed", "reserved")) else quiet + 1
            time.sleep(LOOK)

    def _count(self, state: Any) -> int:
        return sum(self._gello.queue.size(queue, state=state) for queue in QUEUES)


def _reason(job: FailedJob) -> str:
    """Why a job failed: its exception is kept as "its class: what it says"."""
    said, tries = job.exception.partition(": ")[2], len(job.attempts)
    return f"{said} ({tries} attempt{'s' * (tries != 1)})"


def _set_environment(place: dict[str, str], port: int) -> None:
    """Say to this process and its workers where jobs and mails go, whatever this machine's environment says."""
    for name in list(os.environ):
        if name.startswith(("QUEUE_", "MAILER_")) or name == "DATABASE_URL":
            del os.environ[name]
    os.environ |= {**place, "QUEUE_LEASE": LEASE}
    os.environ |= {"MAILER_HOST": HOST, "MAILER_PORT": str(port)}
