"""What must not cross a fork: threads, locks and connections belong to the process that made them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


class Forgets(Protocol):
    """Something that must begin afresh in a child process."""

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's."""


class StandsStill(Forgets, Protocol):
    """Something that must be at rest while its process forks."""

    def before_fork(self) -> None:
        """Come to rest."""

    def after_fork_in_parent(self) -> None:
        """Go on."""


class Gate:
    """Lets many use something, and nobody while it is shut: `with gate: …`.

    A thread's uses must not be nested.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shut = 0
        # By thread, not by number: should an interrupt have kept a use from ending, the thread's next one mends that.
        self._inside: set[int] = set()

    def __enter__(self) -> None:
        with self._changed:
            while self._shut:
                self._changed.wait()
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside.discard(threading.get_ident())
            if self._shut:
                self._changed.notify_all()

    def shut(self, timeout: float) -> None:
        """Let no use begin, and wait for those of other threads to end, for so many seconds at most."""
        me = threading.get_ident()
        with self._changed:
            self._shut += 1
            self._changed.wait_for(lambda: self._inside <= {me}, timeout)

    def open(self) -> None:
        """Let uses begin again."""
        with self._changed:
            # A fork that had begun before this gate was made has not shut it.
            self._shut = max(self._shut - 1, 0)
            self._changed.notify_all()


def forget_in_children(something: Forgets) -> None:
    """Call `after_fork` in every child that is forked from now on, as long as the thing lives."""
    os.register_at_fork(after_in_child=_while_it_lives(something.after_fork))


def stand_still_in_forks(something: StandsStill) -> None:
    """Bring the thing to rest before each fork from now on, and forget it in the child, as long as it lives."""
    go_on = _while_it_lives(something.after_fork_in_parent)
    os.register_at_fork(before=_while_it_lives(something.before_fork), after_in_parent=go_on)
    forget_in_children(something)


def _while_it_lives(method: Callable[[], None]) -> Callable[[], None]:
    known = weakref.WeakMethod(method)

    def call() -> None:
        here = known()
        if here is not None:
            here()

    return call
