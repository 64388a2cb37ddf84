from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gello_dramatiq.cli.wanted import moment
from gello_dramatiq.errors import InvalidSetting

from .conftest import Ended, Project

Run = Callable[..., Ended]


@pytest.fixture
def failed_id(gello: Run) -> str:
    """Of one failed job; a second, of another queue, stands beside it."""
    gello("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    gello("push", "send_welcome_email", "user_id=13", "email=x@y.z", "--queue", "bulk")
    assert gello("work", "--stop-when-empty", "--log-level", "error").code == 0
    jobs = json.loads(gello("failed", "--json", "--queue", "emails").out)
    assert len(jobs) == 1
    return str(jobs[0]["id"])


def count(gello: Run, *filters: str) -> int:
    return len(json.loads(gello("failed", "--json", *filters).out))


def test_a_failed_job_is_one_line_for_programs(gello: Run, failed_id: str) -> None:
    head, *rows = gello("failed").out.splitlines()
    assert head.split() == ["Id", "Job", "Queue", "Reason", "Failed", "at", "Attempts", "Exception"]
    row = next(row for row in rows if failed_id in row)
    assert row.split()[:4] == [failed_id, "send_welcome_email", "emails", "error"]
    # What looks like rich's markup is the error's own.
    assert row.strip().endswith("2         ConnectionRefusedError: [bold]no mail server[/bold]")


def test_one_failed_job_is_shown_whole(gello: Run, failed_id: str) -> None:
    shown = gello("failed", failed_id).out
    for part in ('"user_id": 13', "Attempts\n", "  1  ", "  2  ", "Traceback (most recent call last)", "[/bold]"):
        assert part in shown
    data = json.loads(gello("failed", failed_id, "--json").out)
    assert data["payload"] == {"user_id": 13, "email": "a@b.c"}
    assert [attempt["attempt"] for attempt in data["attempts"]] == [1, 2]
    assert "ConnectionRefusedError" in data["traceback"]
    began = [datetime.fromisoformat(attempt["started_at"]) for attempt in data["attempts"]]
    assert began[0] <= began[1] <= datetime.fromisoformat(data["failed_at"]) <= datetime.now(UTC)


def test_an_unknown_id_is_said_in_one_line(gello: Run, failed_id: str) -> None:
    ended = gello("failed", "nope")
    assert ended.code == 1
    assert ended.err.startswith("gello: No failed job has the id 'nope'")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), 2),
        (("--queue", "emails"), 1),
        (("--name", "send_welcome_email"), 2),
        (("--name", "other"), 0),
        (("--reason", "error"), 2),
        (("--reason", "timeout"), 0),
        (("--since", "1h"), 2),
        (("--before", "1h"), 0),
        (("--since", "2200-01-01"), 0),
        (("--text", "X@Y.Z"), 1),
        (("--limit", "1"), 1),
        (("--limit", "1", "--offset", "2"), 0),
    ],
)
def test_failed_jobs_are_filtered(gello: Run, failed_id: str, filters: tuple[str, ...], found: int) -> None:
    assert count(gello, *filters) == found


def test_a_list_says_when_there_is_more(gello: Run, failed_id: str) -> None:
    assert "1 of 2 failed jobs" in gello("failed", "--limit", "1").err
    assert gello("failed", "--queue", "none").err == "No failed job matches.\n"


def test_a_retried_job_is_back_in_its_queue(gello: Run, failed_id: str) -> None:
    assert gello("retry", failed_id).out == "1 job retried.\n"
    assert count(gello) == 1
    assert json.loads(gello("status", "--json").out)["queues"][-2]["ready"] == 1


def test_an_id_that_is_unknown_keeps_no_other_from_being_retried(gello: Run, failed_id: str) -> None:
    ended = gello("retry", "nope", failed_id, "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["retried"] == [failed_id]
    assert ended.err.startswith("gello: No failed job has the id 'nope'")


def test_all_that_match_are_retried(gello: Run, failed_id: str) -> None:
    assert gello("retry-all", "--queue", "bulk").out == "1 failed job retried.\n"
    assert json.loads(gello("retry-all", "--json").out) == {"retried": 1}
    assert count(gello) == 0


def test_a_forgotten_job_is_gone(gello: Run, failed_id: str) -> None:
    assert gello("forget", failed_id, "--yes").code == 0
    assert gello("forget", failed_id, "-y").code == 1
    assert count(gello) == 1


def test_flush_drops_what_matches(gello: Run, failed_id: str) -> None:
    assert gello("flush", "--queue", "bulk", "--yes").out == "1 failed job dropped.\n"
    assert gello("flush", "-y").out == "1 failed job dropped.\n"
    assert gello("flush").out == "0 failed jobs dropped.\n"


def test_prune_drops_only_what_is_old(gello: Run, failed_id: str) -> None:
    assert json.loads(gello("prune", "--older-than", "7d", "--yes", "--json").out) == {"dropped": 0}
    assert json.loads(gello("prune", "--older-than", "0s", "--yes", "--json").out) == {"dropped": 2}


@pytest.mark.parametrize(
    "command", [["flush"], ["prune", "--older-than", "0s"], ["forget", "a", "b"]], ids=lambda words: words[0]
)
def test_nothing_is_dropped_unasked(gello: Run, failed_id: str, command: list[str]) -> None:
    ended = gello(*command)
    assert ended.code == 2
    assert ended.err == "gello: Drop 2 failed jobs for good? There is nobody to ask; say --yes to do it.\n"
    assert count(gello) == 2


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
def test_a_person_is_asked(gello: Run, failed_id: str, monkeypatch: pytest.MonkeyPatch, answer: str, left: int) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        os.write(ours, f"{answer}\n".encode())
        monkeypatch.setattr(sys, "stdin", terminal)
        ended = gello("flush")
    os.close(ours)
    assert "Drop 2 failed jobs for good? [y/N]" in ended.err
    assert ended.code == (1 if left else 0)
    assert count(gello) == left


@pytest.mark.parametrize("command", ["failed", "retry-all", "flush", "prune --older-than 1d", "retry x", "forget x"])
def test_failed_jobs_in_another_process_cannot_be_seen(gello: Run, project: Project, command: str) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('memory://')\n")
    ended = gello(*command.split(), "--app", "held:gello")
    assert ended.code == 4
    assert "in the memory of the process in which they failed" in ended.err


def test_a_moment_is_a_date_or_how_long_ago() -> None:
    now = datetime.now(UTC)
    assert moment("--since", None) is None
    assert moment("--since", "2026-01-31T12:00+00:00") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    ago = moment("--since", "2h")
    assert ago is not None
    assert abs(now - timedelta(hours=2) - ago) < timedelta(seconds=5)
    with pytest.raises(InvalidSetting, match="--since 'soon' is no moment"):
        moment("--since", "soon")


def test_a_terminal_gets_two_lines_for_a_failed_job(
    gello: Run, failed_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", gello("failed", "--queue", "emails").out)
    first, second = (line.strip() for line in shown.splitlines() if "Connection" in line or failed_id in line)
    assert first.split()[:3] == ["send_welcome_email", "emails", "ConnectionRefusedError:"]
    assert re.fullmatch(f"{failed_id} +(just now|.* ago) +error · 2 attempts", second)


def test_a_terminal_of_80_columns_cuts_off_nothing_but_the_error(project: Project, failed_id: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gello_dramatiq", "failed", "--queue", "emails"]
    environment = project.environment | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    subprocess.run(command, cwd=project.folder, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    lines = os.read(ours, 4096).decode().splitlines()
    os.close(ours)
    first, second = (line.strip() for line in lines if "Connection" in line or failed_id in line)
    assert first.endswith("…")
    assert re.fullmatch(f"{failed_id} +(just now|.* ago) +error · 2 attempts", second)


def test_a_message_that_cannot_be_decoded_is_shown_raw(gello: Run, failed_id: str) -> None:
    connection = sqlite3.connect("gello.db")
    connection.execute("UPDATE failed_jobs SET message = ?, name = '', attempts = '[]', traceback = ''", (b"junk",))
    connection.commit()
    connection.close()
    shown = gello("failed", failed_id).out
    assert shown.startswith("(no name)\n")
    assert "payload  junk" in shown
    assert "Attempts" not in shown
    ended = gello("retry", failed_id)
    assert ended.code == 1
    assert "can't be decoded" in ended.err
