"""The deadline of a handler: JobTimeout raised in its thread when its time is over.

The interrupt is an asynchronous exception, which arrives up to one statement late and never inside a blocking C call.
Two rules keep it from hitting anything but the handler: a lock shared with the watchdog decides whether a deadline
fired, and disarming clears an interrupt that was sent and has not arrived.
"""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .errors import JobTimeout
from .forks import forget_in_children

TICK = 0.05
"""Seconds between two looks of the watchdog; a deadline fires at most this late, plus the interpreter's own delay."""


class Deadline:
    """The deadline of one worker thread."""

    __slots__ = ("__weakref__", "_fired", "_lock", "_thread", "at")

    def __init__(self, lock: threading.Lock) -> None:
        self.at: float | None = None
        self._fired = False
        self._lock = lock
        self._thread = ctypes.c_ulong(threading.get_ident())

    def arm(self, seconds: float) -> None:
        with self._lock:
            self.at = time.monotonic() + seconds

    def disarm(self) -> None:
        with self._lock:
            self.at = None
            if self._fired:
                self._fired = False
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)

    def fire(self, now: float) -> None:
        """Interrupt the thread if its time is over; at most once for each arming."""
        with self._lock:
            if self.at is not None and now >= self.at:
                self.at = None
                self._fired = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(JobTimeout))


class Watchdog:
    """Watches the deadlines of all worker threads of a process, from one thread that starts at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._local = threading.local()
        self._deadlines: weakref.WeakSet[Deadline] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        forget_in_children(self)

    def call(self, seconds: float, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call a function under a deadline.

        A function that has returned has succeeded, even if its time ran out in that instant.

        Raises:
          JobTimeout: The time was over before it returned.
        """
        deadline = self._mine()
        result: Any = None
        returned = False
        try:
            try:
                deadline.arm(seconds)
                result = function(argument)
                returned = True
            finally:
                deadline.disarm()
        except JobTimeout as interrupt:
            # The interrupt may have landed inside disarm, too late to mean anything.
            deadline.disarm()
            if not returned:
                late = JobTimeout(f"ran longer than its timeout of {timedelta(seconds=seconds)}")
                raise late.with_traceback(interrupt.__traceback__) from None
        return result

    def stop(self) -> None:
        """End the watching thread; it starts again at the next use."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def after_fork(self) -> None:
        """Watch with a thread of this process."""
        self._lock = threading.Lock()
        self._local = threading.local()
        self._deadlines = weakref.WeakSet()
        self._thread = None

    def _mine(self) -> Deadline:
        deadline: Deadline | None = getattr(self._local, "deadline", None)
        if deadline is None:
            # The thread's own storage holds the only strong reference: a thread that ended isn't watched any more.
            deadline = self._local.deadline = Deadline(self._lock)
            with self._lock:
                self._deadlines.add(deadline)
        if self._thread is None:
            self._start()
        return deadline

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stopped.clear()
                self._thread = threading.Thread(target=self._run, name="gello-deadlines", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(TICK):
            with self._lock:
                watched = list(self._deadlines)
            now = time.monotonic()
            for deadline in watched:
                if deadline.at is not None and now >= deadline.at:
                    deadline.fire(now)
