"""One Redis: its scripts, and its errors in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from ...deadline import calm
from ...errors import BrokerUnavailable, InvalidSetting
from ...masking import mask

BUSY = 3.0
"""Seconds to wait for a connection or an answer before saying so."""
TRUSTED = 1
"""Seconds that a connection may lie unused before it is asked whether it lives."""
DEAD = b"dead"
"""The fate of what a stock worker gave up."""
MEANINGS = (
    ("invalid username-password pair", "refuses the user or the password; check both in the URL."),
    ("WRONGPASS", "refuses the user or the password; check both in the URL."),
    ("NOAUTH", "asks for a password; put one into the URL."),
    ("Authentication required", "asks for a password; put one into the URL."),
    ("called without any password configured", "has no password; take it out of the URL."),
    ("DB index is out of range", "has no database of this number; mend the URL."),
    ("invalid DB index", "has no database of this number; mend the URL."),
    (
        "NoPermissionError",
        "refuses it: this user lacks a right; it needs all of its prefix's keys and channels.",
    ),
    ("OutOfMemoryError", "has no memory left for more jobs; raise its maxmemory, or let workers catch up."),
    ("MISCONF", "doesn't write, as it can't save to its disk; see its log."),
    ("ReadOnlyError", "can only be read: it is a replica; name the primary."),
    ("BusyLoadingError", "is starting: it loads its data."),
    ("CROSSSLOT", "is a cluster, which Gello doesn't speak; name a single server."),
    ("MOVED", "is a cluster, which Gello doesn't speak; name a single server."),
    ("Connection refused", "isn't there: nothing listens at this host and port; start it, or mend the URL."),
    ("Name or service not known", "has a host name that can't be found; mend the URL."),
    ("Timeout", f"didn't answer within {BUSY:g} s; check the server, the host and the port."),
)
"""What an error is called or says, and what it means."""


class Client:
    """Runs scripts on one Redis.

    Parameters:
      url: "redis://host:6379/0", or rediss://.
      namespace: What all its keys begin with, before a colon.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        try:
            self.redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=BUSY,
                socket_connect_timeout=BUSY,
                health_check_interval=TRUSTED,
                # A script whose answer was lost may have run: whoever called it must know.
                retry=Retry(NoBackoff(), 0),
                client_name="gello",
            )
        except (ValueError, TypeError) as error:
            raise InvalidSetting(f"{mask(url)} is no URL of a Redis: {error}.") from error
        self._scripts = {name: self.redis.register_script(_text(name)) for name in ("put", "work")}

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script.

        Raises:
          BrokerUnavailable: The server can't be used.
        """
        with self.explained():
            known = self._scripts[script]
            try:
                return self.redis.evalsha(known.sha, 1, self.namespace, *arguments)
            except NoScriptError:  # the server was started anew, and runs none that it doesn't know
                return known(keys=(self.namespace,), args=arguments)

    def ask(self, call: Callable[[Any], Any]) -> Any:
        """Run a command.

        Raises:
          BrokerUnavailable: The server can't be used.
        """
        with self.explained():
            return call(self.redis)

    def key(self, name: str) -> str:
        """A key of this namespace."""
        return f"{self.namespace}:{name}"

    def close(self) -> None:
        """Close the connections; they open again at the next use."""
        self.redis.connection_pool.disconnect()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn errors into words.

        Raises:
          BrokerUnavailable: The server can't be used.
        """
        try:
            with calm():
                yield
        except (redis.RedisError, OSError) as error:
            raise explain(error, self.url) from error


def explain(error: Exception, url: str) -> BrokerUnavailable:
    """An error of Redis in words."""
    said = " ".join(str(error).split())
    called = f"{type(error).__name__} {said}"
    meaning = next((words for sign, words in MEANINGS if sign in called), "can't be used:")
    return BrokerUnavailable(f"{mask(url)} {meaning} ({said})")


def texts(values: Sequence[bytes]) -> list[str]:
    """Names as Redis gives them."""
    return [value.decode() for value in values]


def _text(name: str) -> str:
    return files("gello_dramatiq.brokers.redis").joinpath(f"{name}.lua").read_text()
