"""The demo as a person runs it: a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from examples.mailer.place import SERVERS
from tests import servers
from tests.contracts.conftest import DURABLE

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "examples.mailer"]
AT_ONCE = 4
"""What one worker sends at a time. As many again may have been sent and not yet noted when it is killed."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("broker", [*DURABLE, "redis"])
def test_on_every_broker_the_same_mails_are_accounted_for_although_a_worker_is_killed(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broker in SERVERS:
        servers.fresh(broker)  # skips where there is no server
        monkeypatch.setenv(SERVERS[broker][0], {**servers.ADMIN, "redis": servers.REDIS}[broker])
    ended = run("--users", "60", "--json", "--broker", broker)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    first, last = result["first"], result["last"]
    assert result["good"]
    assert result["rows"] == 60
    assert result["refused"] == sum(result["refused_because"].values()) == 5
    assert result["accepted"] == 55
    assert (first["lost"], first["strays"], last["lost"], last["strays"]) == ([], [], [], [])
    assert (first["delivered"], first["failed"]) == (52, 3)
    assert first["retried"] == 5
    assert first["failed_because"] == {
        "451 4.3.2 The mailbox server is down (3 attempts)": 2,
        "550 5.1.1 No such mailbox (1 attempt)": 1,
    }
    assert (result["retried"]["delivered"], result["retried"]["failed"]) == (2, 1)
    assert (last["delivered"], last["failed"]) == (54, 1)
    assert len(last["twice"]) <= 2 * AT_ONCE
    assert result["killed_pid"] > 0
    assert result["report"] == "Welcome mails: 54 delivered, 1 failed"


@pytest.mark.slow
def test_it_tells_its_story_in_six_steps() -> None:
    ended = run("--users", "12")
    assert (ended.returncode, ended.stderr) == (0, "")
    for step in ("1  Server", "2  Push", "3  Work", "4  Books", "5  Retry", "6  Report"):
        assert step in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("Every mail is accounted for")


@pytest.mark.slow
def test_stopped_in_the_middle_it_leaves_no_worker_behind() -> None:
    with subprocess.Popen([*DEMO, "--quiet"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as demo:
        workers = _workers(demo.pid, 2)
        demo.terminate()
        _, said = demo.communicate(timeout=30)
    assert (demo.returncode, said) == (130, "Stopped.\n")
    assert not [worker for worker in workers if worker.is_running()]


@pytest.mark.parametrize("users", ["0", "501", "-1", "many"])
def test_a_number_of_users_that_there_is_not_is_refused_in_one_line(users: str) -> None:
    ended = run("--users", users)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith(f"argument --users: {users!r} is no number from 1 to 500")


def test_without_its_mail_server_it_says_what_to_install() -> None:
    ended = _run_changed("sys.modules['aiosmtpd'] = None")
    assert ended.returncode == 2
    assert ended.stderr == "The demo needs aiosmtpd, its mail server: run `make demo`, or `pip install aiosmtpd`.\n"


@pytest.mark.slow  # aiosmtpd waits five seconds before it says so
def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    ended = _run_changed(
        "import socket",
        "from examples.mailer import server",
        "taken = socket.create_server(('127.0.0.1', 0))",
        "server._free_port = lambda: taken.getsockname()[1]",
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "already in use" in ended.stderr


@pytest.mark.slow
def test_workers_that_cannot_start_are_said_with_their_last_words() -> None:
    ended = _run_changed(
        "import subprocess",
        "from examples.mailer import processes",
        "code = 'raise ImportError(\"no such thing\")'",
        "start = lambda log: subprocess.Popen([sys.executable, '-c', code], stderr=log.open('wb'))",
        "processes._start = start",
    )
    assert ended.returncode == 1
    assert ended.stderr == "All workers ended; the last one said: ImportError: no such thing\n"


def _run_changed(*changes: str) -> subprocess.CompletedProcess[str]:
    """Run the demo after some statements that change it."""
    lines = ("import sys", *changes, "from examples.mailer.__main__ import main", "sys.exit(main(['--quiet']))")
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


def _workers(demo: int, count: int) -> list[psutil.Process]:
    """Wait until the demo's workers are at work."""
    workers: list[psutil.Process] = []
    while len(workers) < count:
        time.sleep(0.05)
        workers = psutil.Process(demo).children()
    # A signal that comes while a process is being started would leave it to end by itself.
    time.sleep(0.5)
    return workers
