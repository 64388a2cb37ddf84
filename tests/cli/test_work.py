from __future__ import annotations

import json
import logging
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from gello_dramatiq.cli.processes import Children

from .conftest import Ended, Project

Run = Callable[..., Ended]
SLOW_START = 20.0
"""Seconds that a process may take to begin on a busy machine."""


def until(question: Callable[[], Any], what: str, seconds: float = SLOW_START) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} didn't happen within {seconds} s")


def rows(project: Project, query: str) -> list[Any]:
    connection = sqlite3.connect(project.folder / "gello.db")
    try:
        return connection.execute(query).fetchall()
    except sqlite3.OperationalError:  # not installed yet
        return []
    finally:
        connection.close()


def workers(project: Project) -> list[int]:
    return [pid for (pid,) in rows(project, "SELECT pid FROM queue_workers WHERE dead_at IS NULL")]


@contextmanager
def started(project: Project, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = project.start("work", *arguments)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        # Its children hold the same pipes, and see its death only once they have begun.
        process.communicate(timeout=SLOW_START)


def test_jobs_are_worked_until_nothing_is_ready(gello: Run) -> None:
    gello("push", "send_welcome_email", "user_id=7", "email=a@b.c")
    ended = gello("work", "--stop-when-empty", "--queue", "high,emails", "--queue", "reports")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert "works sqlite:///gello.db: queues high, emails, reports; jobs ProcessReport, send_welcome_email" in lines[0]
    assert re.search(r"send_welcome_email [0-9a-f-]{36} done in ", lines[1])
    assert "1 attempt, 0 failed" in lines[-1]


def test_the_log_has_no_traceback_of_a_job(gello: Run) -> None:
    gello("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    logging.getLogger("dramatiq").setLevel(logging.NOTSET)
    ended = gello("work", "--stop-when-empty")
    assert "attempt 1 of 2: ConnectionRefusedError" in ended.out
    assert "failed on attempt 2 of 2 (error): ConnectionRefusedError" in ended.out
    assert "Traceback" not in ended.out + ended.err


def test_debugging_shows_tracebacks_as_they_happen(gello: Run) -> None:
    gello("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    logging.getLogger("dramatiq").setLevel(logging.NOTSET)
    assert "Traceback" in gello("work", "--stop-when-empty", "--log-level", "debug").out


def test_the_log_may_be_json_lines(gello: Run) -> None:
    gello("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    ended = gello("work", "--stop-when-empty", "--json", "--tries", "1")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert lines[0]["event"] == "start"
    assert lines[0]["jobs"] == ["ProcessReport", "send_welcome_email"]
    assert {"time", "level", "logger", "process", "message"} <= set(lines[1])
    assert lines[-1]["level"] == "info"


def test_a_log_that_nobody_reads_is_no_error(project: Project) -> None:
    with started(project, "--stop-when-empty") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=SLOW_START) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


def test_limits_end_the_work(gello: Run) -> None:
    for _ in range(3):
        gello("push", "ProcessReport", "report_id=0")
    assert gello("work", "--max-jobs", "1", "--concurrency", "1", "--grace", "5s").code == 0
    began = time.monotonic()
    assert gello("work", "--max-time", "0.3s", "--backoff", "1s,2s", "--timeout", "5s").code == 0
    assert time.monotonic() - began < 10


def test_modules_are_worked_without_an_app(gello: Run, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GELLO_APP")
    assert gello("work", project.jobs, "--stop-when-empty").code == 0
    refused = gello("work", "--stop-when-empty")
    assert refused.code == 3
    assert "No job is known here" in refused.err


def test_a_terminal_gets_colours_and_a_few_lines_first(project: Project) -> None:
    project.run("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gello_dramatiq", "work", "--stop-when-empty"],
        cwd=project.folder, env=project.environment | {"TERM": "xterm-256color", "COLUMNS": "80"},
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # the terminal is closed
            pass
        assert process.wait(timeout=10) == 0
    os.close(ours)
    text = shown.decode()
    assert "works sqlite:///gello.db" in text
    assert "\x1b[31m" in text
    assert "[bold]no mail server[/bold]" in re.sub(r"\x1b\[[0-9;]*m|\s+", " ", text).replace("no mail  ", "no mail ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_work_gracefully(project: Project, number: signal.Signals) -> None:
    project.run("push", "ProcessReport", "report_id=1")
    with started(project) as process:
        until((project.folder / "report-begun").exists, "the start of the job")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "ProcessReport" in out
    assert "Stopping: 1 job(s) run, and may end within 30s; a second signal gives them up." in out
    assert "done in 1" in out
    assert err == ""
    assert rows(project, "SELECT 1 FROM queue_jobs") == []


def test_a_second_signal_stops_it_at_once(project: Project) -> None:
    project.run("push", "ProcessReport", "report_id=30")
    with started(project) as process:
        until((project.folder / "report-begun").exists, "the start of the job")
        process.terminate()
        time.sleep(0.3)
        process.terminate()
        assert process.wait(timeout=10) == 143


@pytest.mark.slow
def test_a_killed_child_is_replaced_and_what_it_held_is_free_at_once(project: Project) -> None:
    project.run("push", "ProcessReport", "report_id=2")
    with started(project, "--processes", "2", "--concurrency", "1") as process:
        until(lambda: len(workers(project)) == 2, "the start of two workers")
        owner = until(lambda: rows(project, "SELECT owner FROM queue_jobs WHERE state = 2"), "the claim")[0][0]
        ((victim,),) = rows(project, f"SELECT pid FROM queue_workers WHERE owner = {owner}")  # noqa: S608
        assert victim in {child.pid for child in psutil.Process(process.pid).children()}
        os.kill(victim, signal.SIGKILL)
        # Long before the lease of ten seconds is over.
        until(lambda: rows(project, f"SELECT 1 FROM queue_jobs WHERE owner <> {owner}"), "the release", 5)  # noqa: S608
        until(lambda: not rows(project, "SELECT 1 FROM queue_jobs"), "the second run")
        until(lambda: len(workers(project)) == 2 and victim not in workers(project), "the replacement")
        process.terminate()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"Process {victim} died by SIGKILL; 1 job(s) that it held run again; another one starts in 0.5 s." in out
    assert err == ""


@pytest.mark.slow
def test_a_signal_to_parent_and_children_alike_lets_what_runs_end(project: Project) -> None:
    """As systemd stops a service: KillMode=control-group."""
    project.run("push", "ProcessReport", "report_id=3")
    with started(project, "--processes", "2") as process:
        until(lambda: len(workers(project)) == 2, "the start of two workers")
        until((project.folder / "report-begun").exists, "the start of the job")
        time.sleep(0.3)
        for each in (*psutil.Process(process.pid).children(), process):
            each.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "done in 3" in out
    assert rows(project, "SELECT 1 FROM queue_jobs") == []


@pytest.mark.slow
def test_a_second_signal_to_the_parent_ends_the_children_at_once(project: Project) -> None:
    project.run("push", "ProcessReport", "report_id=30")
    with started(project, "--processes", "2") as process:
        until((project.folder / "report-begun").exists, "the start of the job")
        children = psutil.Process(process.pid).children()
        process.terminate()
        time.sleep(0.5)
        process.terminate()
        assert process.wait(timeout=10) == 143
        assert psutil.wait_procs(children, timeout=2)[1] == []
    assert rows(project, "SELECT state FROM queue_jobs") == [(0,)], "it is free at once"


@pytest.mark.slow
def test_children_stop_when_their_parent_is_killed(project: Project) -> None:
    with started(project, "--processes", "2") as process:
        until(lambda: len(workers(project)) == 2, "the start of two workers")
        children = psutil.Process(process.pid).children()
        process.kill()
        assert psutil.wait_procs(children, timeout=SLOW_START)[1] == []
    assert workers(project) == []


@pytest.mark.slow
def test_several_processes_end_when_nothing_is_ready(project: Project) -> None:
    for _ in range(2):
        project.run("push", "ProcessReport", "report_id=0")
    ended = project.run("work", "--processes", "2", "--stop-when-empty")
    assert ended.code == 0
    assert ended.out.count("works sqlite:///gello.db") == 1
    assert ended.out.count(" done in ") == 2
    assert rows(project, "SELECT 1 FROM queue_jobs") == []


def a_child(code: str) -> list[str]:
    """A command line with which `python -m gello_dramatiq` would do something else: the tests' stand-in for a child."""
    return [sys.executable, "-c", code]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    real = subprocess.Popen

    def use(code: str) -> None:
        def popen(command: list[str], **options: Any) -> Any:
            return real(a_child(code), **options)

        monkeypatch.setattr("gello_dramatiq.cli.processes.subprocess.Popen", popen)

    return use


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_child_that_cannot_work_stops_them_all(stand_ins: Callable[[str], None], code: int) -> None:
    stand_ins(f"raise SystemExit({code})")
    assert Children(2, 1.0, lambda pid: 0, []).run() == code


def test_a_child_that_fails_is_replaced_after_a_growing_pause(
    stand_ins: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gello_dramatiq.cli.processes.FIRST_PAUSE", 0.01)
    stand_ins("raise SystemExit(1)")
    died: list[int] = []

    def free(pid: int) -> int:
        died.append(pid)
        if len(died) == 4:
            signal.raise_signal(signal.SIGTERM)
        return 0

    assert Children(1, 1.0, free, []).run() == 1
    assert len(set(died)) == 4
    pauses = re.findall(r"another one starts in (\S+) s", caplog.text)
    assert pauses == ["0.01", "0.02", "0.04"]


def test_a_child_that_does_not_end_is_killed(
    stand_ins: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gello_dramatiq.cli.processes.MERCY", 0.2)
    stand_ins("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    timer = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    timer.start()
    assert Children(1, 0.1, lambda pid: 0, []).run() == 137
    timer.join()
    assert "didn't end in time and are killed" in caplog.text
