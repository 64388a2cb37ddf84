"""The Redis broker: jobs are entries of lists, a claim moves them to a worker's own hash."""

from __future__ import annotations

import logging
import queue
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dramatiq import Message, Middleware

from ...broker import Encoded, GelloBroker, State
from ...claim import Claim
from ...durations import Duration, duration
from ...errors import BrokerUnavailable, JobEnded
from ...job import new_job_id
from ...leases import Beats
from ...masking import mask
from ...outcome import DONE, GIVEN_BACK, Kind, Outcome, Reason
from .client import DEAD, Client, texts
from .listener import Listener
from .roster import RedisRoster

if TYPE_CHECKING:
    from ...coordinator import Coordinator

log = logging.getLogger("gello.worker")

LOOK = 0.1
"""Seconds between two looks of an idle worker: for delayed jobs, and for what stock producers pushed."""
CLEAR = 5000
"""Jobs that are dropped at once."""
SIZES: tuple[State, ...] = ("ready", "delayed", "reserved")
GIVEN_UP = "A worker of stock Dramatiq gave it up; what it died of stands in that worker's log."
ID = "redis_message_id"
"""The option by which Dramatiq's own Redis broker knows a message."""


class RedisBroker(GelloBroker):
    """Keeps jobs in Redis, beside Dramatiq's own broker.

    Parameters:
      url: "redis://host:6379/0".
      namespace: What all its keys begin with; Dramatiq's own broker shares what has the same.
      lease: How long a worker's silence must last before its jobs are given to others.
      middleware: Dramatiq's kind.
    """

    name = "redis"
    claim_size = 1024

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "dramatiq",
        lease: Duration = "10s",
        middleware: list[Middleware] | None = None,
    ) -> None:
        super().__init__(middleware)
        self.client = Client(url, namespace)
        self.lease = duration(lease).total_seconds()
        self._roster = RedisRoster(self.client, self.lease)
        self._beats = Beats(self._roster, self.lease)
        self._listener: Listener | None = None
        self._unsure = False

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return mask(self.client.url)

    def close(self) -> None:
        """Close the connections; they open again at the next use."""
        if self.coordinator is None:
            self._stop_listening()
        self.client.close()

    def after_fork(self) -> None:
        super().after_fork()
        self._beats, self._listener = self._beats.afresh(), None

    def put(self, messages: Sequence[Encoded]) -> None:
        arguments: list[Any] = []
        groups = groupby(messages, lambda each: (each[0].queue_name, self.priority_of(each[0]), each[1] or 0))
        for (queue_name, priority, delay), group in groups:
            jobs = [part for message, _, raw in group for part in (message.options[ID], raw)]
            arguments += (queue_name, priority, delay, len(jobs) // 2, *jobs)
        self.client.run("put", *arguments)

    def exchange(
        self, owner: str, claims: Sequence[Claim], queues: Sequence[str], limit: int
    ) -> tuple[int, list[Claim]]:
        if not claims and not self._unsure and (limit <= 0 or not queues):
            return 0, []
        try:
            if self._unsure:
                self._reconcile(owner)
            wanted = limit if queues else 0
            stale, *found = self.client.run("work", "exchange", *settles(claims), owner, wanted, *queues)
        except BaseException:
            # It may have happened although its reply was lost: then jobs are ours that we don't know.
            self._unsure = True
            raise
        return int(stale), _claims(owner, found)

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        return self.exchange(owner, [], queues, limit)[1]

    def settle(self, claims: Sequence[Claim]) -> int:
        return int(self.client.run("work", "exchange", *settles(claims), "", 0)[0]) if claims else 0

    def mark(self, claims: Sequence[Claim]) -> list[Claim]:
        return [claim for claim in claims if self.client.run("work", "mark", claim.queue_name, *claim.key, claim.lease)]

    def wait(self, inbox: Any, timeout: float) -> Any:
        if self._listener is None and self.coordinator is not None:
            self._listener = Listener(self.client, self.coordinator.completer.wake)
        try:
            return inbox.get(timeout=min(timeout, LOOK))
        except queue.Empty:
            return None

    def attach(self, owner: str, coordinator: Coordinator) -> str:
        self._beats.start(owner, coordinator)
        self._warn_of_eviction()
        return owner

    def detach(self, owner: str) -> None:
        self._stop_listening()
        self._beats.stop(owner)

    def size(self, queue: str, state: State = "ready") -> int:
        return int(self.client.run("work", "sizes", queue)[SIZES.index(state)])

    def holds_any(self, queue: str) -> bool:
        return any(self.client.run("work", "sizes", queue))

    def clear(self, queue: str) -> int:
        dropped, found = 0, CLEAR
        # A chunk a script: nobody else is served meanwhile. What is pushed meanwhile doesn't fill one.
        while found == CLEAR:
            found, gone = self.client.run("work", "clear", queue, CLEAR)
            dropped += gone
        return dropped

    def queue_names(self) -> set[str]:
        return {*self.queues, *texts(self.client.ask(lambda redis: redis.smembers(self.client.key("__queues__"))))}

    def free_dead_process(self, host: str, pid: int) -> int:
        """Free at once what a process held that is known to be dead; returns how many jobs."""
        workers = [each for each in self._roster.others("") if each.startswith(f"{host[:40]}:{pid}:")]
        return sum(map(self._roster.bury, workers))

    def _landing(self, message: Any) -> Message[Any]:
        plain = super()._landing(message)
        # A new one each time, as Dramatiq does: a job may be put again while it is held.
        plain.options[ID] = new_job_id()
        return plain

    def _warn_of_eviction(self) -> None:
        try:
            said = self.client.ask(lambda redis: redis.config_get("maxmemory*"))
        except BrokerUnavailable:  # many may not ask
            return
        policy = said.get("maxmemory-policy", "noeviction")
        if policy != "noeviction" and int(said.get("maxmemory", 0)):
            log.warning(
                "%s drops keys when its memory is full (maxmemory-policy %s), and jobs with them; set noeviction.",
                self.shown, policy,
            )  # fmt: skip

    def _reconcile(self, owner: str) -> None:
        """Give back what this worker holds and doesn't know."""
        known = self.coordinator.knows() if self.coordinator else set()
        back: list[Any] = []
        for queue_name, key, held, _ in self._roster.holdings(owner):
            if (owner, key.decode()) not in known:
                back += ("back", queue_name, owner, held.partition(b":")[0], key)
        self.client.run("work", "exchange", *back, "", 0)
        self._unsure = False

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()


def settles(claims: Sequence[Claim]) -> list[Any]:
    """What outcomes are to the script."""
    done: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
    arguments: list[Any] = []
    # What is given back goes to the front: the last one first, so that their order stays.
    for claim in reversed(claims):
        outcome = claim.outcome or DONE
        owner, key = claim.key
        if outcome is GIVEN_BACK:
            arguments += ("back", claim.queue_name, owner, claim.lease, key)
        elif outcome.kind in (Kind.RELEASED, Kind.RETRIED):
            wait = outcome.delay // timedelta(milliseconds=1)
            arguments += ("put", claim.queue_name, owner, claim.lease, key, wait, claim.remembering())
        else:
            done[claim.queue_name, owner, claim.lease].append(key)
    for (queue_name, owner, lease), ids in done.items():
        arguments += ("done", queue_name, owner, lease, len(ids), *ids)
    return arguments


def _claims(owner: str, found: Sequence[Any]) -> list[Claim]:
    if not found:
        return []
    lease, *rest = found
    claims = []
    for queue_name, found_key, raw, fate in zip(*(iter(rest),) * 4, strict=True):
        deaths, _, suspect = (b"" if fate == DEAD else fate).partition(b":")
        key = found_key.decode()
        claim = Claim((owner, key), lease, raw, queue_name.decode(), key, int(deaths or 0), int(suspect or 0))
        if fate == DEAD and claim.outcome is None:
            claim.outcome = Outcome(Kind.FAILED, error=JobEnded(GIVEN_UP), reason=Reason.ERROR)
        claims.append(claim)
    return claims
