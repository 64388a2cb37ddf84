"""The event loop of async jobs: one thread for a process, started at first use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from .errors import JobTimeout
from .forks import forget_in_children


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
        """
        bounded = work if seconds is None else _bounded(work, seconds)
        return asyncio.run_coroutine_threadsafe(bounded, self._running()).result()

    def stop(self) -> None:
        """End the loop; it starts again at the next use."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def after_fork(self) -> None:
        """Run coroutines on a loop of this process."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="gello-async", daemon=True)
                self._thread.start()
            return self._loop


async def _bounded(work: Coroutine[Any, Any, Any], seconds: float) -> Any:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await work
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise JobTimeout(f"ran longer than its timeout of {timedelta(seconds=seconds)}") from error
