"""Several worker processes for one `gello work`: started, told to stop, replaced when they die.

A child is a process of its own (spawned, never forked), in a process group of its own, so that Ctrl+C reaches only its
parent. It holds the other end of a pipe; when that closes, the child stops: its parent says so, or is gone. Not by a
signal: systemd sends its own to every process of a service, and two would mean "at once".
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from .exits import NOT_LOADED, UNAVAILABLE, USAGE

log = logging.getLogger("gello.worker")

CHILD = "GELLO_CHILD"
"""The environment variable by which a child knows that it is one."""
POLL = 0.05
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a dead child is replaced: they double with each death."""
STEADY = 60.0
"""A child that lived so many seconds was no part of a series of deaths."""
MERCY = 15.0
"""Seconds beyond the grace that a child has to end; then it is killed."""


class Children:
    """Keeps so many processes running until they end by themselves, or until it is told to stop.

    Parameters:
      count: How many.
      grace: Seconds that they have to end when they are told to.
      free: Called with the number of a process that died: what it held can be given to others.
      arguments: The command line of a child, after `gello`.
    """

    def __init__(self, count: int, grace: float, free: Callable[[int], int], arguments: Sequence[str]) -> None:
        self._count = count
        self._grace = grace
        self._free = free
        self._arguments = arguments
        self._running: list[tuple[subprocess.Popen[bytes], float]] = []
        self._due: list[float] = []
        self._pause = FIRST_PAUSE
        self._asked: list[int] = []
        self._told = 0
        self._until = float("inf")
        self._code = 0

    def run(self) -> int:
        """Run them all; returns the exit code: 0 if each of them ended well."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for _ in range(self._count):
                self._start()
            while self._running or (self._due and not self._asked):
                self._forward()
                self._collect()
                self._replace()
                time.sleep(POLL)
        finally:
            self._kill()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._code

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked.append(number)

    def _start(self) -> None:
        child = subprocess.Popen(  # noqa: S603 (it is this very program)
            [sys.executable, "-m", "gello_dramatiq", *self._arguments],
            stdin=subprocess.PIPE,
            env={**os.environ, CHILD: "1"},
            process_group=0,
        )
        self._running.append((child, time.monotonic()))

    def _forward(self) -> None:
        while self._told < len(self._asked):
            self._told += 1
            self._until = time.monotonic() + self._grace + MERCY
            if self._told > 1:
                self._code = 128 + self._asked[-1]
                self._kill()
            for child, _ in self._running:
                _close(child)
        if time.monotonic() > self._until:
            log.error("%d process(es) didn't end in time and are killed.", len(self._running))
            self._until = float("inf")
            self._kill()

    def _collect(self) -> None:
        ended = [(child, since) for child, since in self._running if child.poll() is not None]
        self._running = [each for each in self._running if each not in ended]
        for child, since in ended:
            self._bury(child, time.monotonic() - since)

    def _bury(self, child: subprocess.Popen[bytes], lived: float) -> None:
        """Decide what follows from the end of a child."""
        code = child.returncode
        _close(child)
        if code == 0:
            return
        freed = self._free(child.pid)
        how = f"died by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        again = f"; {freed} job(s) that it held run again" if freed else ""
        if self._asked or code in (USAGE, NOT_LOADED, UNAVAILABLE):
            # It said why, and another one would say the same: the rest is told to stop.
            log.error("Process %d %s%s.", child.pid, how, again)
            self._code = self._code or (128 - code if code < 0 else code)
            if not self._asked:
                self._asked.append(signal.SIGTERM)
            return
        self._pause = FIRST_PAUSE if lived > STEADY else self._pause
        log.error("Process %d %s%s; another one starts in %g s.", child.pid, how, again, self._pause)
        self._due.append(time.monotonic() + self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _replace(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0] <= now and not self._asked:
            self._due.pop(0)
            self._start()

    def _kill(self) -> None:
        for child, _ in self._running:
            child.kill()


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        child.stdin.close()


def is_child() -> bool:
    """Whether this process is a child of another `gello work`; asked once, as its own children are none."""
    return os.environ.pop(CHILD, None) is not None


def watch_parent(stop: Callable[[], None]) -> None:
    """Stop when the parent says so, or is gone."""

    def watch() -> None:
        # Not sys.stdin, whose lock would be held at the interpreter's end.
        while os.read(0, 1):
            pass
        while True:
            # Again: a worker that is only about to run forgets that it was told to stop.
            stop()
            time.sleep(POLL)

    threading.Thread(target=watch, name="gello-parent-watch", daemon=True).start()
