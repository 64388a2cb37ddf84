"""The event loop of async jobs: one thread for a process, started at first use."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from datetime import timedelta
from typing import Any

from .durations import spell
from .errors import JobTimeout, Unsupported
from .forks import forget_in_children
from .outcome import Release

log = logging.getLogger("gello.jobs")

GRACE = 5.0
"""Seconds that `stop` waits for what it has cancelled."""


class LoopThread:
    """Runs coroutines for worker threads, each of which waits for its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        forget_in_children(self)

    def run(self, work: Coroutine[Any, Any, Any], seconds: float | None = None) -> Any:
        """Run a coroutine and wait until it has really ended.

        Parameters:
          work: The coroutine. It sees the context variables of the caller.
          seconds: When to cancel it; None is never.

        Raises:
          JobTimeout: It was cancelled at its deadline.
          Release: It was cancelled by `stop`.
          Unsupported: This is the loop's own thread, which can't wait for itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise Unsupported(
                "An async job can't run where it is pushed by a task of the event loop that would run it; "
                "push it from a thread: await asyncio.to_thread(…)."
            )
        bounded, loop = work if seconds is None else _bounded(work, seconds), self._running()
        try:
            return asyncio.run_coroutine_threadsafe(bounded, loop).result()
        except CancelledError as error:
            if loop is self._loop:
                raise
            raise Release(message="its app was closed while it ran") from error

    def stop(self) -> None:
        """Cancel what runs, wait until it has ended, five seconds at most, and end the loop; the next use starts it."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(GRACE)
            if thread.is_alive():
                log.warning("An async job doesn't end though it was cancelled; it is left behind.")

    def after_fork(self) -> None:
        """Run coroutines on a loop of this process."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="gello-async", daemon=True)
                self._thread.start()
            return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped and what was cancelled then has ended: a thread waits for each coroutine."""
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()


async def _bounded(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise JobTimeout(f"ran longer than its timeout of {spell(timedelta(seconds=seconds))}") from error
