"""The signals that end a worker's process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("gello.worker")


@contextmanager
def stopped_by_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first SIGTERM or SIGINT, and end the process at the second.

    Signals reach a main thread alone; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    signalled = False

    def answer(number: int, frame: Any) -> None:
        nonlocal signalled
        if signalled:
            log.warning("A second signal: what runs is given up and runs again elsewhere.")
            os._exit(128 + number)
        signalled = True
        stop()

    before = {number: signal.signal(number, answer) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
