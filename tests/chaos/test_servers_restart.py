"""A server that crashes and comes back while workers work."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from gello_dramatiq import Gello
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator
from tests.chaos.conftest import Rig
from tests.chaos.jobs import steady

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Server(Protocol):
    """A server of a test's own."""

    def start(self) -> None:
        """Start it, and wait until it answers."""

    def crash(self) -> None:
        """End it without a goodbye to those who are connected."""

    @property
    def url(self) -> str:
        """An empty database."""
        ...


class PostgreSQLServer:
    """PostgreSQL in a folder."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not found:
            pytest.skip("no PostgreSQL binaries under /usr/lib/postgresql")
        self._bin, self._data, self._folder, self._port = found[-1].parent, folder / "data", folder, free_port()
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={self._data}")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._control("start", "--wait", f"--options={options}", f"--log={self._folder / 'log'}")

    def crash(self) -> None:
        self._control("stop", "--mode=immediate")

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", f"--pgdata={self._data}", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to be root.
        user = ("runuser", "-u", "postgres", "--") if os.getuid() == 0 else ()
        with (self._folder / "said").open("wb") as said:
            subprocess.run(
                [*user, str(self._bin / program), *arguments], stdout=said, stderr=said, check=True, cwd=self._folder
            )


class MariaDBServer:
    """MariaDB in a folder."""

    def __init__(self, folder: Path) -> None:
        if not shutil.which("mariadbd") or not shutil.which("mariadb-install-db"):
            pytest.skip("no mariadbd and mariadb-install-db")
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = ("--user=root",) if os.getuid() == 0 else ()
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", *self._user, f"--datadir={folder / 'data'}",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"mariadb://root@127.0.0.1:{self._port}/test"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mariadbd", "--no-defaults", *self._user, f"--datadir={self._folder / 'data'}", f"--port={self._port}",
                 "--bind-address=127.0.0.1", f"--socket={self._folder / 'socket'}"],
                stdout=log, stderr=log,
            )  # fmt: skip
        engine = create_engine(read_url(self.url))
        until = time.monotonic() + 30
        while True:
            try:
                with engine.connect() as connection:
                    connection.execute(text("SELECT 1"))
            except OperationalError:
                assert time.monotonic() < until, (self._folder / "log").read_text()
                time.sleep(0.05)
            else:
                break
        engine.dispose()

    def crash(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture(params=[PostgreSQLServer, MariaDBServer], ids=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    # Not pytest's folder, which another user may not enter.
    with tempfile.TemporaryDirectory(prefix="gello-server-", ignore_cleanup_errors=True) as folder:
        made: Server = request.param(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.crash()


@pytest.fixture
def rig(server: Server, tmp_path: Path) -> Iterator[Rig]:
    database = Database(server.url)
    Migrator(database).install()
    database.close()
    gello = Gello(server.url, modules=["tests.chaos.jobs"], default=True)
    made = Rig(tmp_path, server.url, gello)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()
    gello.close()


def test_a_server_that_crashes_and_is_back_after_three_seconds_loses_nothing(server: Server, rig: Rig) -> None:
    rig.gello.queue.bulk([steady.job(n, 0.05) for n in range(300)])
    workers = [rig.worker(2), rig.worker(2)]
    rig.wait(lambda: {event.pid for event in rig.events("finish")} == {worker.pid for worker in workers})
    server.crash()
    assert len(rig.count("finish")) < 300, "it crashed while there was work"
    time.sleep(3)
    server.start()
    rig.wait_until_empty(60)
    assert rig.gello.failed.count() == 0
    rig.check()  # who lives settles what was done when the server is back
    assert "taken for dead" not in rig.logs()
    assert "is dead" not in rig.logs()
    assert [worker.poll() for worker in workers] == [None, None], rig.logs()
