"""Hears of pushes, so that an idle worker needn't look."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from .client import Client, explain

log = logging.getLogger("gello.worker")

CLOSING = 0.2
"""Seconds until a listener notices that it is closed."""


class Listener:
    """Subscribes on a connection of its own; without one, work is found by looking, and it tries again.

    Parameters:
      client: Where.
      wake: Ends the worker's wait, from any thread.
    """

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        self._client = client
        self._wake = wake
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gello-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        deaf = False
        while not self._closed.is_set():
            try:
                with self._client.redis.pubsub(ignore_subscribe_messages=True) as heard:
                    heard.subscribe(self._client.key("__pushed__"))
                    self._wake()  # what was pushed while nobody listened
                    deaf = False
                    while not self._closed.is_set():
                        if heard.get_message(timeout=CLOSING) is not None:
                            self._wake()
            except (redis.RedisError, OSError) as error:
                if not deaf:
                    told = explain(error, self._client.url)
                    log.warning("No announcements of new jobs; they are looked for meanwhile: %s", told)
                    deaf = True
                self._closed.wait(1.0)
