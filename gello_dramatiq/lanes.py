"""The roads between the coordinator and a worker's threads: claims go down, outcomes come back."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from typing import Any

from dramatiq.broker import Consumer, MessageProxy

from .broker import Claim, GelloBroker
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
