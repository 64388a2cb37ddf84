from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gello_dramatiq
from gello_dramatiq.cli.parameters import ReasonName
from gello_dramatiq.outcome import Reason

from .conftest import Ended, Project

SLOW_IMPORTS = {"asyncio", "dramatiq", "pydantic", "pydantic_settings", "rich", "rich.table", "sqlalchemy", "sqlite3"}
COMMANDS = [
    "work", "push", "jobs", "status", "clear", "failed", "retry", "retry-all", "forget", "flush", "prune", "config",
    "demo", "version", "db install", "db upgrade", "db status", "db sql",
]  # fmt: skip


@pytest.mark.parametrize("command", [[], ["work"], ["failed"], ["db", "install"]], ids=" ".join)
def test_help_loads_nothing_that_takes_long(project: Project, command: list[str]) -> None:
    program = (
        "import sys; from gello_dramatiq.cli import main\n"
        f"try: main({[*command, '--help']!r})\n"
        "finally: print('loaded', *sys.modules)"
    )
    # Coverage in the child would load sqlite3.
    environment = {name: value for name, value in project.environment.items() if not name.startswith("COV")}
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=project.folder, env=environment, capture_output=True, text=True,
        timeout=30, check=True,
    )  # fmt: skip
    loaded = set(shown.stdout.splitlines()[-1].split())
    assert "Usage: gello" in shown.stdout
    # typer itself reads the options before a command with pydantic.
    assert loaded & SLOW_IMPORTS <= ({"pydantic"} if command else set())


def test_help_lists_every_command_and_the_exit_codes(gello: Callable[..., Ended]) -> None:
    shown = gello("--help")
    assert shown.code == 0
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in shown.out
    for code in ("0", "1", "2", "3", "4", "130"):
        assert f"    {code}  " in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_an_environment_twin(gello: Callable[..., Ended], command: str) -> None:
    shown = gello(*command.split(), "--help")
    options = shown.out.partition("Options:")[2].split("\n  -")[1:]
    for option in options:
        if not option.startswith("h, --help"):
            assert "GELLO_" in "".join(option.split()), option


def test_a_flag_may_come_from_the_environment(
    project: Project, gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GELLO_JOBS_JSON", "1")
    assert json.loads(gello("jobs").out)[0]["name"] == "ProcessReport"


@pytest.mark.parametrize(
    ("variable", "value", "command"),
    [
        ("GELLO_WORK_CONCURRENCY", "abc", "work"),
        ("GELLO_JOBS_JSON", "perhaps", "jobs"),
        ("GELLO_FAILED_REASON", "bad", "failed"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(
    gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, command: str
) -> None:
    monkeypatch.setenv(variable, value)
    ended = gello(command)
    assert ended.code == 2
    assert ended.err.startswith(f"gello: {variable}: Invalid value for '--")


def test_reasons_on_the_command_line_are_those_of_failed_jobs() -> None:
    assert set(ReasonName.__args__) == {reason.value for reason in Reason}


def test_version_is_shown(gello: Callable[..., Ended]) -> None:
    assert gello("version").out == gello("--version").out == f"gello {gello_dramatiq.__version__}\n"
    assert set(json.loads(gello("version", "--json").out)) == {"gello", "python", "dramatiq", "pydantic", "sqlalchemy"}


def test_without_a_command_the_help_is_shown(gello: Callable[..., Ended]) -> None:
    ended = gello()
    assert ended.code == 2
    assert "Usage: gello" in ended.err


def test_an_error_of_ours_keeps_its_traceback_for_developers(
    gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GELLO_TRACEBACK", "1")
    ended = gello("push", "nope")
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-1].startswith("gello: No job is called 'nope'")


def test_an_unexpected_error_is_not_hidden(
    gello: Callable[..., Ended], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gello_dramatiq.cli import main, queues

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    gello("db", "install")
    monkeypatch.setattr(queues, "snapshot", broken)
    with pytest.raises(ZeroDivisionError):
        main(["status"])


def test_the_module_runs_as_the_program(project: Project) -> None:
    ended = project.run("version")
    assert (ended.code, ended.out) == (0, f"gello {gello_dramatiq.__version__}\n")


def test_the_app_may_be_named_before_the_command_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "front.py").write_text(
        "from gello_dramatiq import Gello, queueable\n@queueable\ndef sell() -> None: ...\ngello = Gello('memory://')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "gello_dramatiq", "--app", "front:gello", "jobs", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [job["name"] for job in json.loads(ran.stdout)] == ["sell"]
