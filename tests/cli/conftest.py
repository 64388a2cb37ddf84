"""A small project in a folder of its own, and two ways to run `gello` in it: as a process, and in this one."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gello_dramatiq.cli import main

ROOT = Path(__file__).parents[2]
_numbers = itertools.count()

JOBS = """
import time
from pydantic import EmailStr
from gello_dramatiq import Gello, Queueable, backoff, queueable


@queueable(queue="emails", priority=2, max_attempts=2, timeout="30s", retry_after=0)
def send_welcome_email(user_id: int, email: EmailStr, name: str = "you", tags: list[str] | None = None) -> None:
    if user_id == 13:
        raise ConnectionRefusedError("[bold]no mail server[/bold]")


def plain() -> None: ...


class ProcessReport(Queueable, queue="reports", backoff=backoff.exponential("1s", max="5m")):
    report_id: int

    def handle(self) -> None:
        open("report-begun", "w").close()
        time.sleep(self.report_id)
"""


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Project:
    """A folder with a module `jobs…` of jobs, and a module `app…` with an app and the same jobs."""

    folder: Path
    jobs: str
    app: str

    @property
    def environment(self) -> dict[str, str]:
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        return {**os.environ, "PYTHONPATH": paths, "GELLO_APP": f"{self.app}:gello"}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gello_dramatiq", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> Ended:
        began = time.monotonic()
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=40)
        return Ended(process.returncode, out, err, time.monotonic() - began)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    number = next(_numbers)
    made = Project(tmp_path, f"jobs{number}_cli", f"app{number}_cli")
    (tmp_path / f"{made.jobs}.py").write_text(JOBS)
    (tmp_path / f"{made.app}.py").write_text(f'{JOBS}\n\ngello = Gello("sqlite:///gello.db")\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GELLO_APP", f"{made.app}:gello")
    before, modules = sys.path.copy(), set(sys.modules)
    yield made
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def gello(project: Project, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Runs a command in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    filters = logging.getLogger("dramatiq.worker.WorkerThread").filters.copy()

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    yield run
    root.handlers, root.level = handlers, level
    logging.raiseExceptions = True
    logging.getLogger("dramatiq.worker.WorkerThread").filters = filters
