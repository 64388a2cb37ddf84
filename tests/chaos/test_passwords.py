"""A PostgreSQL that asks for passwords, which those of most test machines don't."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import read_url
from gello_dramatiq.errors import DatabaseUnavailable
from tests.chaos.test_servers_restart import PostgreSQLServer

pytestmark = pytest.mark.slow


@queueable
def work(n: int) -> None: ...


@pytest.fixture
def ann() -> Iterator[URL]:
    """A user who must say the right password, which isn't in this URL."""
    with tempfile.TemporaryDirectory(prefix="gello-server-", ignore_cleanup_errors=True) as folder:
        server = PostgreSQLServer(Path(folder))
        server.start()
        try:
            url = read_url(server.url)
            rules = Path(folder) / "data" / "pg_hba.conf"
            rules.write_text(f"host all ann 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
            engine = create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text("CREATE ROLE ann LOGIN PASSWORD 'right'"))
                connection.execute(text("SELECT pg_reload_conf()"))
            engine.dispose()
            yield url.set(username="ann")
        finally:
            server.crash()


def test_a_wrong_password_and_none_are_told_apart_in_one_line_that_shows_neither(ann: URL) -> None:
    for password, says in (("secret", "refuses the user or the password"), (None, "asks for a password; put one")):
        gello = Gello(ann.set(password=password).render_as_string(hide_password=False), jobs=[work])
        with pytest.raises(DatabaseUnavailable, match=says) as raised:
            gello.queue.push(work, 1)
        gello.close()
        assert "secret" not in str(raised.value)
        assert "\n" not in str(raised.value)
