"""`gello db`: Gello's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from .loading import opened
from .output import counted, emit, table
from .parameters import App, Json

if TYPE_CHECKING:
    from ..app import Gello
    from ..database.engine import Database
    from ..database.migrations import Migration, Status

AHEAD = "one version newer, with which it works; upgrade Gello soon"
db = typer.Typer(no_args_is_help=True, help="Create, upgrade and inspect Gello's tables.")


@db.command()
def install(app: App = None, json: Json = False) -> None:
    """Create or upgrade the tables; again changes nothing."""
    with opened(app) as gello:
        applied = [_migrated(database) for database in databases(gello)]
    _say(applied, as_json=json)


@db.command()
def upgrade(app: App = None, json: Json = False) -> None:
    """Bring the tables to the newest version."""
    from ..errors import TablesMissing

    applied = []
    with opened(app) as gello:
        for database in databases(gello):
            if state(database).version == 0:
                raise TablesMissing(f"{_shown(database)} has no Gello tables; create them with `gello db install`.")
            applied.append(_migrated(database))
    _say(applied, as_json=json)


@db.command()
def status(app: App = None, json: Json = False) -> None:
    """Show the version of the tables; nothing is changed."""
    with opened(app) as gello:
        found = [(_shown(database), state(database)) for database in databases(gello)]
    if json:
        emit([{"database": name, "version": each.version, "newest": each.newest,
               "pending": [step.says for step in each.pending]} for name, each in found])  # fmt: skip
    else:
        table(["Database", "Version", "Newest", "State"], [_row(name, each) for name, each in found])


@db.command()
def sql(app: App = None, json: Json = False) -> None:
    """Print the statements that create the tables."""
    from ..database.migrations import Migrator

    with opened(app) as gello:
        statements = {_shown(database): Migrator(database).sql() for database in databases(gello)}
    if json:
        emit([{"database": name, "sql": text} for name, text in statements.items()])
    else:
        typer.echo("\n".join(statements.values()))


def databases(gello: Gello) -> list[Database]:
    """The databases of an app, the broker's first.

    Raises:
      Unsupported: It has none.
    """
    from ..errors import Unsupported

    found: dict[int, Any] = {
        id(database): database
        for database in (getattr(gello.broker, "database", None), gello.database)
        if database is not None
    }
    if not found:
        raise Unsupported("This app keeps nothing in a database; give it one: DATABASE_URL=sqlite:///gello.db.")
    return list(found.values())


def state(database: Database) -> Status:
    """Which version a database has. An SQLite file that isn't there isn't made by asking."""
    from ..database.migrations import MIGRATIONS, Migrator, Status

    if not database.exists:
        return Status(0, MIGRATIONS[-1].version, MIGRATIONS)
    return Migrator(database).status()


def _migrated(database: Database) -> tuple[str, list[Migration], Status]:
    from ..database.migrations import Migrator

    migrator = Migrator(database)
    return _shown(database), migrator.install(), migrator.status()


def _say(applied: list[tuple[str, list[Migration], Status]], *, as_json: bool) -> None:
    if as_json:
        emit([{"database": name, "applied": [step.says for step in steps]} for name, steps, _ in applied])
        return
    for name, steps, found in applied:
        for step in steps:
            typer.echo(f"{name}: version {step.version}, {step.says}.")
        if found.ahead:
            typer.echo(f"{name} has tables of version {found.version}, this Gello knows {found.newest}: {AHEAD}.")
        elif not steps:
            typer.echo(f"{name} is up to date.")


def _row(name: str, found: Status) -> list[str]:
    pending = counted(len(found.pending), "migration")
    missing = "no tables; run `gello db install`"
    behind = f"{pending} to apply; run `gello db upgrade`"
    says = missing if found.version == 0 else behind if found.pending else AHEAD if found.ahead else "up to date"
    return [name, str(found.version), str(found.newest), says]


def _shown(database: Database) -> str:
    return database.shown
