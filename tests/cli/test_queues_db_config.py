from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gello_dramatiq import backoff
from gello_dramatiq.broker import State
from gello_dramatiq.cli import jobs
from gello_dramatiq.masking import mask
from tests.versions import NEWEST

from .conftest import ROOT, Ended, Project

Run = Callable[..., Ended]


def test_jobs_are_listed_with_their_limits(gello: Run) -> None:
    listed = json.loads(gello("jobs", "--json").out)
    report, mail = listed
    assert report["backoff"] == {"kind": "exponential", "first": 1.0, "factor": 2, "max": 300.0, "jitter": True}
    assert mail["backoff"] == {"kind": "constant", "wait": 0.0}
    assert "1s × 2ⁿ ≤ 5m" in gello("jobs").out
    assert (mail["queue"], mail["priority"], mail["max_attempts"], mail["timeout"]) == ("emails", 2, 2, 30.0)
    assert mail["payload"]["required"] == ["user_id", "email"]
    assert "user_id: integer, email: email, name?: string, tags?: array or null" in gello("jobs").out


def test_jobs_of_a_module_need_no_app(gello: Run, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GELLO_APP")
    assert [job["name"] for job in json.loads(gello("jobs", project.jobs, "--json").out)] == [
        "ProcessReport", "send_welcome_email",
    ]  # fmt: skip


def test_without_an_app_the_command_says_how_to_name_one(gello: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GELLO_APP")
    ended = gello("jobs")
    assert ended.code == 3
    assert "No job is known here: name the app with --app myapp.main:gello" in ended.err


@pytest.mark.parametrize("name", ["{app}:gello", "{app}.gello", "{app}", "held.{app}:gello", "held.{app}.gello"])
def test_an_app_is_named_in_several_ways(gello: Run, project: Project, name: str) -> None:
    package = project.folder / "held"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{project.app}.py").write_text((project.folder / f"{project.app}.py").read_text())
    assert gello("jobs", "--app", name.format(app=project.app)).code == 0


def test_an_app_is_named_in_pyproject(gello: Run, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GELLO_APP")
    Path("pyproject.toml").write_text(f'[tool.gello]\napp = "{project.app}:gello"\n')
    assert gello("jobs").code == 0


def test_the_package_of_an_app_is_not_walked(gello: Run, project: Project) -> None:
    package = project.folder / f"package_{project.app}"
    package.mkdir()
    (package / "__init__.py").write_text((project.folder / f"{project.app}.py").read_text())
    (package / "script.py").write_text("raise SystemExit('must not run')")
    assert gello("jobs", "--app", f"{package.name}:gello").code == 0
    assert gello("jobs", "--app", package.name).code == 0


def test_status_shows_queues_and_failures(gello: Run) -> None:
    gello("push", "send_welcome_email", "user_id=7", "email=a@b.c")
    shown = gello("status").out
    assert "Queue    Ready  Delayed  Reserved" in shown
    assert "No worker is running." in shown
    assert "0 failed jobs" in shown
    assert json.loads(gello("status", "--json").out)["workers"] == []


def test_clear_drops_what_waits(gello: Run) -> None:
    for _ in range(2):
        gello("push", "ProcessReport", "report_id=1")
    refused = gello("clear", "reports")
    assert refused.code == 2
    assert "Drop 2 jobs of the queue reports for good?" in refused.err
    assert gello("clear", "reports", "--yes").out == "2 jobs of reports dropped.\n"
    assert json.loads(gello("clear", "reports", "--json").out) == {"queue": "reports", "dropped": 0}


@pytest.mark.parametrize("command", [["status"], ["clear", "x"], ["work"]], ids=lambda words: words[0])
def test_a_memory_queue_of_another_process_cannot_be_seen(gello: Run, project: Project, command: list[str]) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('memory://')\n")
    ended = gello(*command, "--app", "held:gello")
    assert ended.code == 4
    assert "A memory queue lives in one process" in ended.err


@pytest.mark.parametrize("command", ["status", "clear x --yes", "failed", "retry x", "retry-all", "flush --yes"])
def test_a_look_makes_no_database(gello: Run, project: Project, command: str) -> None:
    ended = gello(*command.split())
    assert ended.code == 4
    assert "gello.db yet: nothing was pushed, or this is the wrong folder" in ended.err
    assert not list(project.folder.glob("*.db*"))


def test_tables_are_installed_once(gello: Run) -> None:
    assert json.loads(gello("db", "status", "--json").out)[0]["version"] == 0
    assert not Path("gello.db").exists()
    assert gello("db", "upgrade").code == 4
    assert "version 1" in gello("db", "install").out
    assert gello("db", "install").out == gello("db", "upgrade").out == "sqlite:///gello.db is up to date.\n"
    assert "up to date" in gello("db", "status").out


def test_tables_of_the_next_version_are_worked_with_and_said(gello: Run) -> None:
    gello("db", "install")
    with closing(sqlite3.connect("gello.db")) as connection, connection:
        connection.execute("INSERT INTO queue_migrations VALUES (?, 0)", [NEWEST + 1])
    said = "one version newer, with which it works; upgrade Gello soon"
    assert said in " ".join(gello("db", "status").out.split())
    told = f"sqlite:///gello.db has tables of version {NEWEST + 1}, this Gello knows {NEWEST}: {said}.\n"
    assert gello("db", "upgrade").out == gello("db", "install").out == told
    assert gello("push", "ProcessReport", "report_id=1").code == 0


def test_the_statements_of_db_sql_make_the_tables(gello: Run) -> None:
    statements = gello("db", "sql").out
    assert json.loads(gello("db", "sql", "--json").out) == [
        {"database": "sqlite:///gello.db", "sql": statements.removesuffix("\n")}
    ]
    connection = sqlite3.connect("gello.db")
    connection.executescript(statements)
    connection.close()
    status = json.loads(gello("db", "status", "--json").out)[0]
    assert status["version"] == status["newest"]
    assert gello("push", "ProcessReport", "report_id=1").code == 0


def test_an_app_without_a_database_has_no_tables(gello: Run, project: Project) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('memory://')\n")
    ended = gello("db", "install", "--app", "held:gello")
    assert ended.code == 4
    assert "keeps nothing in a database" in ended.err


def config(gello: Run) -> dict[str, tuple[object, str]]:
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(gello("config", "--json").out)}


def test_config_tells_where_each_setting_came_from(gello: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text('[tool.gello]\nlease = "20s"\ntimeout = "5s"\n')
    Path("gello.toml").write_text('timeout = "7s"\ndefault_queue = "toml"\n')
    monkeypatch.setenv("QUEUE_DEFAULT", "env")
    found = config(gello)
    assert found["default_queue"] == ("env", "environment")
    assert found["timeout"] == (7.0, "gello.toml")
    assert found["lease"] == (20.0, "pyproject.toml")
    assert found["url"] == ("sqlite:///gello.db", "argument")
    assert found["max_tries"] == (3, "default")
    assert "QUEUE_DEFAULT" in gello("config").out


@pytest.mark.parametrize(("given", "origin"), [("30", "gello.toml"), ("'1m'", "argument")])
def test_a_duration_is_the_same_however_it_is_written(gello: Run, project: Project, given: str, origin: str) -> None:
    path = project.folder / f"{project.app}.py"
    path.write_text(path.read_text().replace('gello.db")', 'gello.db", timeout="30s")'))
    Path("gello.toml").write_text(f"timeout = {given}\n")
    assert config(gello)["timeout"] == (30.0, origin)
    assert re.search(f"timeout +30s +{origin}", gello("config").out)


def test_config_shows_no_setting_of_what_comes_later(gello: Run) -> None:
    # Every one that is shown is used somewhere; `url`, `driver`, `database` and `redis_…` in the settings themselves.
    code = "".join(path.read_text() for path in (ROOT / "gello_dramatiq").rglob("*.py") if path.name != "settings.py")
    shown = set(config(gello))
    assert shown >= {"url", "timeout", "table_prefix"}
    unused = {name for name in shown if not re.search(rf"\b(settings|read)\.{name}\b", code)}
    own = {"url", "driver", "database", "redis_host", "redis_port", "redis_password", "redis_db"}
    assert unused <= own


def test_config_hides_every_password(gello: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GELLO_APP", "")
    monkeypatch.setenv("QUEUE_URL", "postgresql://u:hunter2@host/db?password=hunter2&x=1")
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    shown = gello("config").out
    assert "hunter2" not in shown
    assert "postgresql://u:***@host/db?password=***&x=1" in shown
    assert "hunter2" not in gello("status").err


def test_a_url_without_secrets_is_shown_as_it_is() -> None:
    assert mask("sqlite:///gello.db") == "sqlite:///gello.db"


def test_status_shows_the_workers(gello: Run) -> None:
    gello("db", "install")
    now = int(time.time() * 1000)
    connection = sqlite3.connect("gello.db")
    connection.executemany(
        "INSERT INTO queue_workers VALUES (?, ?, 'here', ?, 'emails', ?, 3, ?, ?)",
        [("a", 1, 11, now - 7_260_000, now - 2_000, None), ("b", 2, 12, now - 9_000, now - 9_000, now)],
    )
    connection.commit()
    connection.close()
    shown = gello("status").out
    assert re.search(r"here +11 +emails +2h 1m ago +[23]s ago", shown)
    assert re.search(r"here +12 +emails +.*dead", shown)
    workers = json.loads(gello("status", "--json").out)["workers"]
    assert [worker["dead"] for worker in workers] == [False, True]


def test_a_stock_broker_says_what_it_cannot_tell(gello: Run, project: Project) -> None:
    (project.folder / "held.py").write_text(
        f"from {project.jobs} import *\nfrom dramatiq.brokers.stub import StubBroker\n"
        "gello = Gello(broker=StubBroker())\n"
    )
    ended = gello("status", "--app", "held:gello")
    assert ended.code == 4
    assert "StubBroker is a stock Dramatiq broker" in ended.err


def test_a_sync_queue_has_no_workers(gello: Run, project: Project) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('sync://')\n")
    shown = json.loads(gello("status", "--app", "held:gello", "--json").out)
    assert (shown["broker"], shown["workers"], shown["failed"]) == ("sync://", None, None)
    assert "No worker" not in gello("status", "--app", "held:gello").out
    assert gello("work", "--app", "held:gello").code == 4


def test_what_a_broker_cannot_count_is_a_question_mark(gello: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gello_dramatiq.brokers.database.broker import DatabaseBroker
    from gello_dramatiq.errors import Unsupported

    real = DatabaseBroker.size

    def size(self: DatabaseBroker, queue: str, state: State = "ready") -> int:
        if state == "reserved":
            raise Unsupported
        return real(self, queue, state)

    monkeypatch.setattr(DatabaseBroker, "size", size)
    gello("db", "install")
    assert re.search(r"emails +· +· +\?", gello("status").out)


@pytest.mark.parametrize(
    ("given", "spelled"),
    [("5s", "5s"), (["1s", "1m"], "1s, 1m"), (backoff.exponential("1s"), "1s × 2ⁿ ≤ 5m"), (lambda *_: 1, "its own")],
    ids=["constant", "steps", "exponential", "chosen"],
)
def test_a_backoff_is_spelled(given: backoff.AnyBackoff, spelled: str) -> None:
    assert jobs.spelled(backoff.as_backoff(given)) == spelled
