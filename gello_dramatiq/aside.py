"""Runs calls aside, in threads that keep no process alive."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

log = logging.getLogger("gello.worker")

A = TypeVar("A")
R = TypeVar("R")


class Aside:
    """Runs calls in a few daemon threads, which start with the calls.

    An executor's threads would be joined when the interpreter ends, for ever if one of them hangs.

    Parameters:
      name: What its threads are called.
      threads: How many calls run at once at most.
    """

    def __init__(self, name: str, threads: int = 4) -> None:
        self._name = name
        self._most = threads
        self._calls: queue.SimpleQueue[tuple[Callable[[Any], object], Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, call: Callable[[Any], object], argument: Any) -> None:
        """Call a function with one argument, soon; its errors are logged."""
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            # Nothing is noted of one that the system refuses to start: who waits for its answer would wait for ever.
            thread.start()
            self._threads.append(thread)
        self._calls.put((call, argument))

    def ask(self, call: Callable[[A], R], argument: A) -> Future[R]:
        """Call a function with one argument, soon; its result or error is the future's."""
        answer: Future[R] = Future()

        def run(argument: A) -> None:
            try:
                answer.set_result(call(argument))
            except BaseException as error:  # noqa: BLE001 (it is raised to whoever waits)
                answer.set_exception(error)

        self.submit(run, argument)
        return answer

    def close(self, until: float) -> int:
        """Let the calls end, until a moment of the monotonic clock; returns how many have not."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))
        running = sum(thread.is_alive() for thread in self._threads)
        return running and running + max(self._calls.qsize() - running, 0)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, argument = item
            try:
                call(argument)
            except BaseException:  # a thread that ended would be missing from then on
                log.exception("%s met an error that it doesn't know.", self._name)
