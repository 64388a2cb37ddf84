"""Settles what was gathered: in the same step as a claim, before it, or beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from dramatiq.errors import BrokerConnectionError

from .aside import Aside
from .broker import GelloBroker
from .claim import Claim
from .completer import PUT_OFF, Completer
from .outcome import Kind

log = logging.getLogger("gello.worker")

BESIDE = 64
"""Outcomes that are worth a second connection: fewer are settled sooner than another thread has begun."""


class Settler:
    """Keeps outcomes until the broker has performed them.

    Parameters:
      broker: Who settles.
      completer: Says what may be settled, and is told what was.

    Attributes:
      unsettled: Outcomes that the broker hasn't performed, as far as is known here.
      processed: How many attempts ended.
      failed: How many jobs were given up.
    """

    def __init__(self, broker: GelloBroker, completer: Completer) -> None:
        self.unsettled: list[Claim] = []
        self.processed = self.failed = 0
        self._broker = broker
        self._completer = completer
        self._aside = Aside("gello-settler", threads=1)

    def sift(self) -> None:
        """Keep what may be settled now; failed jobs whose row must be written first wait with the completer."""
        self.unsettled = self._completer.settleable(self.unsettled)

    def exchange(
        self, owner: str, queues: Sequence[str], want: int, hand_out: Callable[[list[Claim]], None]
    ) -> tuple[int, bool]:
        """Settle and claim.

        What was claimed is handed out even if settling fails, and the other way round: an error of one undoes nothing
        of the other, unless the broker does both in one step.

        Returns how many were claimed, and whether an empty claim is sure to have seen all that settling put back.
        """
        settling = self.unsettled
        if self._broker.settles_as_it_claims:
            stale, claimed = self._broker.exchange(owner, settling, queues, want)
            self._settled(settling, stale)
            hand_out(claimed)
            return len(claimed), True
        if len(settling) < BESIDE:
            if settling:
                self._settled(settling, self._broker.settle(settling))
            claimed = self._broker.claim(owner, queues, want)
            hand_out(claimed)
            return len(claimed), True
        stale_later = self._aside.ask(self._broker.settle, settling)
        try:
            claimed = self._broker.claim(owner, queues, want)
            hand_out(claimed)
        finally:
            self._settled(settling, stale_later.result())
        return len(claimed), False

    def settle_one_by_one(self) -> None:
        """Keep one outcome that can't be settled from holding up the others."""
        self.sift()
        while self.unsettled:
            claim = self.unsettled[0]
            try:
                stale = self._broker.settle([claim])
            except BrokerConnectionError:
                return
            except Exception:
                if claim.outcome is PUT_OFF:
                    raise
                log.exception("%s %s can't be settled; it is given back.", claim.actor_name, claim.message_id)
                claim.outcome = PUT_OFF
            else:
                self._settled([claim], stale)

    def close(self) -> None:
        """End the helper thread: nothing is settled any more."""
        self._aside.close(time.monotonic())

    def _settled(self, claims: list[Claim], stale: int) -> None:
        self.unsettled = self.unsettled[len(claims) :]
        for claim in claims:
            kind = claim.outcome.kind if claim.outcome else Kind.DONE
            self.processed += kind is not Kind.RELEASED
            self.failed += kind is Kind.FAILED and claim.kept
        self._completer.settled(claims, stale)
