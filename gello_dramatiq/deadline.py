"""The deadline of a handler: JobTimeout raised in its thread when its time is over.

The interrupt is an asynchronous exception, which arrives up to one statement late and never inside a blocking C call.
Three rules keep it from hitting anything but the handler. A token decides whether a deadline fires, at most once for
each arming: the thread and the watchdog both try to take it, and only one can; a lock could be left held by an
interrupt. And an interrupt that was sent and has not arrived is waited for and absorbed.
"""

from __future__ import annotations

import ctypes
import threading
import time
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .durations import spell
from .errors import JobTimeout
from .forks import forget_in_children

TICK = 0.05
"""Seconds between two looks of the watchdog; a deadline fires at most this late, plus the interpreter's own delay."""


SENT = float("-inf")
"""What stands in a token's place once its interrupt was sent."""


class Deadline:
    """The deadline of one worker thread.

    Its token is a list that each arming makes anew: `[at]` while it is armed, `[]` once somebody has taken it, and
    `[SENT]` when that was the watchdog and the interrupt is on its way. Taking is `list.pop`, which nothing can split.
    """

    __slots__ = ("__weakref__", "_thread", "armed", "token")

    def __init__(self) -> None:
        self.token: list[float] = []
        self.armed = False
        self._thread = ctypes.c_ulong(threading.get_ident())

    def arm(self, seconds: float) -> None:
        self.token = [time.monotonic() + seconds]
        self.armed = True

    def disarm(self) -> bool:
        """Don't fire any more; True if it has fired since it was armed."""
        self.armed = False
        return self.take() == SENT

    def take(self) -> float:
        """Take the token: when it would fire, or `SENT`."""
        token = self.token
        try:
            return token.pop()
        except IndexError:
            # The watchdog has just taken it: wait until the interrupt is sent.
            while not token:
                time.sleep(0)
            return SENT

    def fire(self, now: float) -> None:
        """Interrupt the thread if its time is over."""
        token = self.token
        try:
            if not SENT < token[0] <= now:
                return
            token.pop()
        except IndexError:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(JobTimeout))
        token.append(SENT)


class _Here(threading.local):
    deadline: Deadline | None = None
    calm = False


_here = _Here()


class calm:
    """Lets no deadline of this thread fire inside; one whose time is over by then fires afterwards.

    An interrupt may arrive on the way in or out of any context manager that is written in Python, and would leave held
    what that one holds. So this one stands around them: nothing is held yet, or any more, when one can arrive in it.
    """

    __slots__ = ("_at", "_deadline")

    def __enter__(self) -> None:
        deadline = None if _here.calm else _here.deadline
        if deadline is not None and deadline.armed:
            self._at = deadline.take()
            if self._at == SENT:
                deadline.token[:] = [SENT]
                _meet_interrupt()
            _here.calm = True
            self._deadline: Deadline | None = deadline
        else:
            self._deadline = None

    def __exit__(self, *_: object) -> None:
        deadline = self._deadline
        if deadline is not None:
            _here.calm = False
            if self._at != SENT:
                deadline.token.append(self._at)


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

        A function that has returned has succeeded, even if its time ran out in that instant. Where a job runs another
        inside it, as by a second app's sync broker, its own deadline waits for the inner one to end.

        Raises:
          JobTimeout: The time was over before it returned.
        """
        outer = _here.deadline
        if outer is None or not outer.armed:
            return self._call(seconds, function, argument)
        with calm():
            quiet, _here.calm = _here.calm, False
            try:
                return self._call(seconds, function, argument)
            finally:
                _here.deadline, _here.calm = outer, quiet
                outer.armed = True

    def _call(self, seconds: float, function: Callable[[Any], Any], argument: Any) -> Any:
        deadline = _here.deadline = self._mine()
        result: Any = None
        error: BaseException | None = None
        returned = False
        try:
            try:
                deadline.arm(seconds)
                result = function(argument)
                returned = True
            except JobTimeout:
                raise
            except BaseException as raised:  # noqa: BLE001 (it is raised again, once no interrupt can replace it)
                error = raised
            if deadline.disarm():
                _meet_interrupt()
        except JobTimeout as interrupt:
            # It has arrived, perhaps inside disarm: nothing more is to be waited for.
            deadline.armed = False
            deadline.token.clear()
            if not returned and error is None:
                late = JobTimeout(f"ran longer than its timeout of {spell(timedelta(seconds=seconds))}")
                raise late.with_traceback(interrupt.__traceback__) from None
        if error is None:
            return result
        try:
            raise error
        finally:
            # It knows this frame by its traceback: a circle, which would keep it until the collector comes.
            del error

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
        _here.deadline = None

    def _mine(self) -> Deadline:
        deadline: Deadline | None = getattr(self._local, "deadline", None)
        if deadline is None:
            # The thread's own storage holds the only strong reference: a thread that ended isn't watched any more.
            deadline = self._local.deadline = Deadline()
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
                deadline.fire(now)


def _meet_interrupt() -> None:
    """Give an interrupt that was sent to this thread the occasion to arrive, if the handler didn't swallow it.

    It arrives at a jump back. Taking it back instead (`PyThreadState_SetAsyncExc` with NULL) leaves CPython 3.11's flag
    for it set: every thread is slower from then on, and one that is traced never gets further.
    The loop stands in a function of its own, as an interrupt at a jump back skips a `try` around the loop.
    """
    for _ in range(100):
        pass
