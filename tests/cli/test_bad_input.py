"""Whatever is wrong: one line that says what, where and the fix; no traceback, no long wait, nothing half-written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq.database.engine import Database
from gello_dramatiq.database.migrations import Migrator

from .conftest import Ended, Project

PUSH = ("push", "send_welcome_email")
GOOD = (*PUSH, "user_id=1", "email=a@b.c")


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


def broken_database(folder: Path) -> None:
    (folder / "gello.db").write_text("This is a letter to my aunt, and no database at all. " * 100)


def emptied_database(folder: Path) -> None:
    """The migrations say that there are tables, and there are none."""
    connection = sqlite3.connect(folder / "gello.db")
    connection.executescript(
        "CREATE TABLE queue_migrations (version INTEGER PRIMARY KEY, applied_at BIGINT);"
        "INSERT INTO queue_migrations VALUES (1, 0);"
    )
    connection.close()


def newer_database(folder: Path) -> None:
    emptied_database(folder)
    connection = sqlite3.connect(folder / "gello.db")
    connection.execute("UPDATE queue_migrations SET version = 99")
    connection.commit()
    connection.close()


def half_a_database(folder: Path) -> None:
    """What claims read is gone, what a worker writes at its start isn't."""
    Migrator(database := Database(f"sqlite:///{folder}/gello.db")).install()
    database.close()
    connection = sqlite3.connect(folder / "gello.db")
    connection.execute("DROP TABLE queue_jobs")
    connection.close()


def read_only_database(folder: Path) -> None:
    sqlite3.connect(folder / "gello.db").close()


READ_ONLY = {"QUEUE_URL": "sqlite:///file:gello.db?mode=ro&uri=true", "GELLO_APP": ""}
TWICE = """
from gello_dramatiq import queueable
@queueable(name="twin")
def one() -> None: ...
@queueable(name="twin")
def two() -> None: ...
"""

INPUT: dict[str, tuple[tuple[str, ...], int, str]] = {
    "unknown field": ((*GOOD, "colour=red"), 2, "field 'colour' is unknown; it takes: user_id, email"),
    "wrong type": ((*PUSH, "user_id=x", "email=a@b.c"), 2, "field 'user_id'"),
    "field given twice": ((*GOOD, "user_id=2"), 2, "field 'user_id' is given twice"),
    "word without =": ((*PUSH, "user_id"), 2, "'user_id' is no field; write '{\"field\": value}'"),
    "broken JSON": ((*PUSH, '{"user_id": '), 2, "the payload is no JSON"),
    "not JSON-able": (("push", "ProcessReport", '{"report_id": NaN}'), 2, "NaN can't be written as JSON"),
    "negative delay": ((*GOOD, "--delay=-5"), 2, "--delay: '-5' is negative"),
    "no duration": ((*GOOD, "--delay=soon"), 2, "--delay: 'soon' is no duration"),
    "bad queue in push": ((*GOOD, "--queue=9 lives"), 2, "--queue: '9 lives' is no queue name"),
    "bad queue in work": (("work", "--queue=ok,9"), 2, "--queue: '9' is no queue name"),
    "no queue in work": (("work", "--queue=,"), 2, "queues=[]: name at least one"),
    "bad queue in clear": (("clear", "a b"), 2, "'a b' is no queue name"),
    "bad priority": ((*GOOD, "--priority=9"), 2, "--priority"),
    "bad timeout": (("work", "--timeout=long"), 2, "--timeout: 'long' is no duration"),
    "bad backoff": (("work", "--backoff=1s,x"), 2, "--backoff: 'x' is no duration"),
    "bad concurrency": (("work", "--concurrency=0"), 2, "--concurrency"),
    "bad reason": (("failed", "--reason=bad"), 2, "'bad' is not one of 'error'"),
    "bad moment": (("failed", "--since=soon"), 2, "--since 'soon' is no moment"),
    "unknown command": (("wrok",), 2, "Did you mean 'work'?"),
    "missing argument": (("clear",), 2, "Missing argument"),
    "no file to look into": (("failed", "nope"), 4, "gello.db yet: nothing was pushed"),
    "no such module": (("jobs", "--app=nowhere:gello"), 3, "There is no module 'nowhere'"),
    "no such attribute": (("jobs", "--app={app}:nothing"), 3, "has no 'nothing'; it holds: {app}:gello"),
    "a path": (("work", "./{jobs}.py"), 3, "is a file, not a module; name it as Python imports it: {jobs}."),
    "a file in a folder": (("jobs", "shop/jobs.py"), 3, "name it as Python imports it: shop.jobs."),
    "no decorator": (("push", "plain"), 2, "{app}.plain is no job yet; write @queueable above it."),
    "no app": (("jobs", "--app={app}:ProcessReport"), 3, "is no Gello app"),
    "no app in the module": (("jobs", "--app={jobs}"), 3, "it holds no Gello app"),
    "no name of an app": (("jobs", "--app=a/b"), 3, "write it as module:attribute"),
    "too large": (GOOD, 2, "the limit is 10"),
}  # fmt: skip

WORLD: dict[str, tuple[tuple[str, ...], int, str, Callable[[Path], Any] | None, dict[str, str]]] = {
    "missing field": ((*PUSH, "user_id=1"), 2, "field 'email' is missing", None, {}),
    "unknown job": (("push", "send_welcom_email"), 2, "did you mean 'send_welcome_email'?", None, {}),
    "unknown option": (("work", "--quue=x"), 2, "No such option: --quue", None, {}),
    "module with an error": (
        ("work", "faulty"), 3, "ZeroDivisionError: division by zero", write("faulty.py", "x = 1\n1 / 0\n"), {},
    ),
    "module with a syntax error": (("work", "faulty"), 3, "SyntaxError", write("faulty.py", "def (:\n"), {}),
    "module that ends the program": (
        ("work", "faulty"), 3, 'under if __name__ == "__main__"', write("faulty.py", "raise SystemExit(0)\n"), {},
    ),
    "name declared twice": (("work", "faulty"), 3, "Two jobs are called 'twin'", write("faulty.py", TWICE), {}),
    "no database URL": (("work", "{jobs}"), 2, "is no database URL", None, {"QUEUE_URL": "nonsense", "GELLO_APP": ""}),
    "missing folder": (
        ("work", "{jobs}"), 2, "there is no folder", None, {"QUEUE_URL": "sqlite:///no/where.db", "GELLO_APP": ""},
    ),
    "a server that is down": (
        ("status",), 4, "postgresql://u:***@127.0.0.1:9/db isn't there: nothing listens", None,
        {"QUEUE_URL": "postgres://u:secret@127.0.0.1:9/db", "GELLO_APP": ""},
    ),
    "two slashes": (
        ("status",), 2, "write three: sqlite:///shop.db", None, {"QUEUE_URL": "sqlite://shop.db", "GELLO_APP": ""},
    ),
    "bad setting": (("status",), 2, "QUEUE_MAX_TRIES", None, {"QUEUE_MAX_TRIES": "0", "GELLO_APP": ""}),
    "a named app's setting": (("work",), 2, "Settings: field 'QUEUE_MAX_TRIES'", None, {"QUEUE_MAX_TRIES": "0"}),
    "bad variable": (("work",), 2, "GELLO_WORK_TIMEOUT: --timeout: 'soon' is", None, {"GELLO_WORK_TIMEOUT": "soon"}),
    "a flag above its variable": (
        ("work", "--timeout=x"), 2, "gello: --timeout: 'x' is", None, {"GELLO_WORK_TIMEOUT": "soon"},
    ),
    "bad variable of two words": (
        ("work",), 2, "GELLO_WORK_MAX_TIME: --max-time: 'soon' is", None, {"GELLO_WORK_MAX_TIME": "soon"},
    ),
    "bad moment in a variable": (
        ("failed",), 2, "GELLO_FAILED_SINCE: --since 'soon' is no moment", None, {"GELLO_FAILED_SINCE": "soon"},
    ),
    "nothing to work": (
        ("work", "{jobs}"), 4, "The sync broker runs every job inside `push`", None,
        {"QUEUE_URL": "sync://", "GELLO_APP": ""},
    ),
    "bad gello.toml": (("config",), 2, "can't be read", write("gello.toml", "= 1"), {}),
    "no database": (("status",), 4, "is a file, but no SQLite database", broken_database, {}),
    "no database to work": (("work",), 4, "is a file, but no SQLite database", broken_database, {}),
    "missing tables": (("status",), 4, "lacks failed_jobs, queue_jobs, queue_workers", emptied_database, {}),
    "missing tables to work": (("work", "--queue=x"), 4, "lacks queue_jobs", half_a_database, {}),
    "newer tables": (("status",), 4, "upgrade Gello", newer_database, {}),
    "newer tables to work": (("work", "--queue=x"), 4, "upgrade Gello", newer_database, {}),
    "read-only file": (("work", "{jobs}"), 4, "read-only", read_only_database, READ_ONLY),
    "read-only file, processes": (("work", "{jobs}", "--processes=2"), 4, "read-only", read_only_database, READ_ONLY),
}  # fmt: skip


def filled(text: str, project: Project) -> str:
    return text.replace("{app}", project.app).replace("{jobs}", project.jobs)


def files(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in project.folder.glob("gello.db")}


def check(ended: Ended, code: int, says: str) -> None:
    assert says in ended.err
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("gello: ")
    assert ended.out == ""


@pytest.mark.parametrize("case", INPUT)
def test_wrong_input_gets_one_clear_line(
    gello: Callable[..., Ended], project: Project, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    words, code, says = INPUT[case]
    if case == "too large":
        monkeypatch.setenv("QUEUE_MAX_PAYLOAD", "10")
    check(gello(*(filled(word, project) for word in words)), code, filled(says, project))
    assert files(project) == {}


@pytest.fixture
def usual(project: Project) -> float:
    """What a command takes that has nothing to complain of, on this machine, just now."""
    if not _usual:
        _usual.append(project.run("jobs").seconds)
    return _usual[0]


_usual: list[float] = []


@pytest.mark.parametrize("case", WORLD)
def test_a_broken_world_gets_one_clear_line_without_a_wait(project: Project, usual: float, case: str) -> None:
    words, code, says, prepare, environment = WORLD[case]
    if prepare is not None:
        prepare(project.folder)
    before = files(project)
    ended = project.run(*(filled(word, project) for word in words), **environment)
    check(ended, code, filled(says, project))
    assert ended.seconds < 5 + usual
    if case not in ("missing tables", "newer tables", "newer tables to work"):  # opening those switches the file to WAL
        assert files(project) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_file_without_write_permission_is_named(project: Project) -> None:
    assert project.run("db", "install").code == 0
    (project.folder / "gello.db").chmod(0o444)
    ended = project.run(*GOOD)
    assert ended.code == 4
    assert "read-only" in ended.err
