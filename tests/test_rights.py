"""The rights that the pages of the servers list are enough: the owner's to migrate, the program's to push and work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Connection, create_engine, text

from gello_dramatiq import Gello, queueable
from gello_dramatiq.database.engine import Database, read_url
from gello_dramatiq.database.migrations import Migrator
from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.contracts.conftest import wait_for
from tests.versions import VERSIONS

PAGES = {"postgresql": "postgresql.md", "mariadb": "mysql.md"}
ROLES = ("gello_test_owner", "gello_test_app")


class Roles(NamedTuple):
    """The URLs of one database for two users."""

    owner: str
    app: str


def grants(kind: str, database: str) -> Iterator[str]:
    """The statements of a page's section on rights, for the roles of this test."""
    page = (Path(__file__).parents[1] / "docs" / PAGES[kind]).read_text()
    (block,) = re.findall(r"## Rights.*?```sql\n(.*?)```", page, re.DOTALL)
    for statement in re.findall(r"GRANT [^;]+", block):
        named = re.sub(r" TO (owner|app)$", r" TO gello_test_\1", statement)
        yield named.replace("shop.", f"{database}.")


def execute(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(text(statement))


@pytest.fixture(params=servers.ADMIN)
def roles(request: pytest.FixtureRequest) -> Iterator[Roles]:
    """Two users with the rights that the page lists, and a database whose tables the owner has made."""
    kind: str = request.param
    url = read_url(servers.fresh(kind))
    assert url.database is not None
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    drop = [f"DROP {'ROLE' if kind == 'postgresql' else 'USER'} IF EXISTS {role}" for role in ROLES]
    if kind == "postgresql":
        # A role that owns or may do something can't be dropped.
        owned = "SELECT rolname FROM pg_roles WHERE rolname IN ('gello_test_owner', 'gello_test_app')"
        with engine.connect() as connection:
            drop = [f"DROP OWNED BY {role}" for role in connection.scalars(text(owned))] + drop
    as_user = [url.set(username=role, password="secret").render_as_string(hide_password=False) for role in ROLES]
    with engine.connect() as connection:
        execute(connection, *drop)
        named = "LOGIN PASSWORD" if kind == "postgresql" else "IDENTIFIED BY"
        create = "ROLE" if kind == "postgresql" else "USER"
        execute(connection, *(f"CREATE {create} {role} {named} 'secret'" for role in ROLES))
        database = Database(url.render_as_string(hide_password=False))
        database.tables.metadata.drop_all(database.engine)
        database.close()
        if kind == "postgresql":
            execute(connection, "GRANT USAGE, CREATE ON SCHEMA public TO gello_test_owner")
        else:
            execute(connection, *(each for each in grants(kind, url.database) if each.endswith("owner")))
        owner = Database(as_user[0])
        Migrator(owner).install()
        owner.close()
        execute(connection, *(each for each in grants(kind, url.database) if each.endswith("app")))
        yield Roles(*as_user)
        if kind == "postgresql":
            execute(connection, *(f"DROP OWNED BY {role}" for role in ROLES))
        execute(connection, *drop[-2:])
    engine.dispose()


def test_a_program_with_the_listed_rights_pushes_works_fails_retries_and_clears(roles: Roles) -> None:
    ran: list[int] = []

    @queueable(max_attempts=1)
    def work(n: int) -> None:
        ran.append(n)
        if n < 0:
            raise ValueError(n)

    gello = Gello(roles.app, jobs=[work])
    gello.queue.push(work, 1)
    gello.queue.bulk([work.job(n) for n in (2, 3, -1)])
    gello.queue.later("100ms", work, 4)
    with gello.database.write() as transaction:
        gello.queue.within(transaction).push(work, 5)
    worker = gello.worker(concurrency=1)
    worker.start()
    wait_for(lambda: sorted(ran) == [-1, 1, 2, 3, 4, 5] and gello.failed.count() == 1)
    worker.stop()
    assert gello.failed.retry_all() == 1
    gello.queue.later("1h", work, 6)
    assert gello.queue.clear() == 2
    assert gello.failed.flush() == 0
    assert Migrator(gello.database).status().pending == ()
    gello.close()


def test_the_owner_upgrades_and_a_program_is_refused_in_words(roles: Roles) -> None:
    app, owner = Database(roles.app), Database(roles.owner)
    newer = VERSIONS[:-1]
    with pytest.raises(DatabaseUnavailable, match=r"lacks a right; docs/|refuses it: "):
        Migrator(app, newer).install()
    assert [each.version for each in Migrator(owner, newer).install()] == [newer[-1].version]
    app.close()
    owner.close()
