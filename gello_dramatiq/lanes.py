"""The roads between the coordinator and a worker's threads: claims go down, outcomes come back."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.worker import Worker

from .broker import GelloBroker
from .claim import Claim
from .completer import Completer


class Lane(Consumer):
    """One road.

    Under the stock launcher one of Dramatiq's consumer threads reads it; our worker's threads use only its way back.

    Parameters:
      broker: Whose middleware is told.
      completer: Takes the outcomes.
      timeout: Seconds that a consumer thread waits for a claim.
    """

    def __init__(self, broker: GelloBroker, completer: Completer, timeout: float = 0) -> None:
        self.claims: queue.SimpleQueue[Claim] = queue.SimpleQueue()
        self._broker = broker
        self._completer = completer
        self._timeout = timeout

    def __next__(self) -> MessageProxy | None:
        try:
            return self.claims.get(timeout=self._timeout)
        except queue.Empty:
            return None

    def ack(self, message: MessageProxy) -> None:
        self._completer.add(message)

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        self._completer.give_back(messages)

    def post_process_message(self, message: Any) -> None:
        """What Dramatiq's consumer thread does once a message was processed."""
        signal = "nack" if message.failed else "ack"
        self._broker.emit_before(signal, message)
        self._completer.add(message)
        self._broker.emit_after(signal, message)


class OneLane(dict[str, Lane]):
    """Dramatiq's threads look up a queue's consumer; ours is the same for all queues."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __missing__(self, queue_name: str) -> Lane:
        return self._lane


class WorkQueue(queue.SimpleQueue[Any]):
    """A FIFO queue as Dramatiq's threads use one, without the bookkeeping of `task_done`, which nobody here reads."""

    unfinished_tasks = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        item = super().get(block, timeout)
        if item is None:
            raise queue.Empty
        return item

    def wake(self, threads: int) -> None:
        """End the waits of so many threads."""
        for _ in range(threads):
            self.put(None)

    def task_done(self) -> None: ...

    def join(self) -> None: ...


class Unstarted:
    """The claims that were handed out and that no thread has begun.

    Parameters:
      worker: In whose work queue they lie.
      lanes: In which else they lie, by queue name.
    """

    def __init__(self, worker: Worker, lanes: Mapping[str, Lane]) -> None:
        self._worker = worker
        self._lanes = lanes
        self._handed: deque[tuple[float, list[Claim]]] = deque()

    def add(self, claims: list[Claim]) -> None:
        """These were handed out now."""
        self._handed.append((time.monotonic(), claims))

    def since(self) -> float | None:
        """Since when the oldest has lain here, by the monotonic clock; None if there is none."""
        while self._handed:
            since, claims = self._handed[0]
            while claims and (claims[-1].started or claims[-1].settled):
                claims.pop()
            if claims:
                return since
            self._handed.popleft()
        return None

    def take(self, wanted: Callable[[Claim], bool]) -> list[Claim]:
        """Take out those that are wanted; the others stay in their order."""
        taken: list[Claim] = []
        sources: list[Any] = [self._worker.work_queue, *(lane.claims for lane in self._lanes.values())]
        for source in sources:
            items = list(_drained(source))
            for item in items:
                # None is what wakes a thread up.
                if item is not None and wanted(item.message):
                    taken.append(item.message)
                else:
                    source.put(item)
                if source is self._worker.work_queue:
                    source.task_done()
        return taken


def _drained(source: Any) -> Iterable[Any]:
    while True:
        try:
            yield source.get_nowait()
        except queue.Empty:
            return
