"""What database servers have in common: connections that may have died while nobody used them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from .backend import POOL

TRUSTED = 1.0
"""Seconds that a connection may lie unused before it is asked whether it lives."""


class Server:
    """The half of a backend that servers share.

    The driver commits each statement by itself; a transaction is begun in words. So a claim is one round trip instead
    of three.
    """

    def at_once(self, engine: Engine) -> Any:
        return engine.connect()

    @contextmanager
    def transaction(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection, connection.execution_options(gello_transaction=True).begin():
            yield connection

    def after_fork(self) -> None:
        """Nothing is held but connections."""


def open_server(url: URL, *, end: Callable[[Any], None], **arguments: Any) -> Engine:
    """An engine for a server.

    Parameters:
      url: Where it is.
      end: Ends a transaction that was left open on a connection of the driver, without a round trip if there is none.
      arguments: For the driver's `connect`.
    """
    engine = create_engine(url, connect_args=arguments, pool_reset_on_return=None, **POOL)
    event.listen(engine, "reset", partial(_end, end))
    event.listen(engine, "begin", _begin)
    event.listen(engine, "checkin", _remember)
    event.listen(engine, "checkout", _ask_whether_it_lives)
    return engine


def _end(end: Callable[[Any], None], connection: Any, record: Any, _state: Any) -> None:
    try:
        end(connection)
    except Exception as error:  # noqa: BLE001 (whatever it is, the connection is of no use)
        # Let go of it here: the pool would do so, too, but with a traceback in the log. A record is missing where the
        # connection is nobody's any more; it is closed next.
        if record is not None:
            record.invalidate(error)


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("gello_transaction"):
        connection.exec_driver_sql("BEGIN")


def _remember(connection: Any, record: Any) -> None:
    record.info["gello_used_at"] = time.monotonic()


def _ask_whether_it_lives(connection: Any, record: Any, proxy: Any) -> None:
    # Not SQLAlchemy's own ping, which costs a round trip each time.
    used_at = record.info.get("gello_used_at")
    if used_at is None or time.monotonic() - used_at < TRUSTED:
        return
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.close()
    except Exception as error:
        raise DisconnectionError(str(error)) from error
