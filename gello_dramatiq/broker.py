"""What our brokers add to Dramatiq's: claims with leases, settling by outcome, bulk, sizes."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dramatiq import Actor, Broker, Message, Middleware
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.common import current_millis
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    MiddlewareError,
    Pipelines,
    ShutdownNotifications,
    TimeLimit,
)

from . import envelope
from .claim import Claim
from .errors import Unsupported
from .forks import forget_in_children
from .options import queue_name as check_queue_name

if TYPE_CHECKING:
    from .coordinator import Coordinator

State = Literal["ready", "delayed", "reserved"]
Hook = Callable[..., None]
Delayed = tuple[Message[Any], int | None]
"""A message and its delay in milliseconds."""
Encoded = tuple[Message[Any], int | None, bytes]
"""A message, its delay in milliseconds, and how it lies in the broker."""

LOOK = 0.02
"""Seconds between two looks of whoever waits for a queue to be empty."""
STOCK = (AgeLimit, ShutdownNotifications, Callbacks, Pipelines, TimeLimit)
"""Dramatiq's own middleware, which only stock actors need. TimeLimit stands last: armed last, disarmed first."""


class SignalHooks(dict[str, tuple[list[Hook], list[Hook]]]):
    """For each signal, at its first use, the hooks before and after it that a broker's middleware overrides."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __missing__(self, signal: str) -> tuple[list[Hook], list[Hook]]:
        before, after = self._overridden(f"before_{signal}"), self._overridden(f"after_{signal}")
        self[signal] = before, after[::-1]
        return self[signal]

    def _overridden(self, hook: str) -> list[Hook]:
        stock = getattr(Middleware, hook, None)
        return [getattr(m, hook) for m in self._broker.middleware if getattr(type(m), hook, None) is not stock]


class GelloBroker(Broker):
    """The base of our brokers. A broker of ours says how jobs are put, claimed and settled; the rest is here.

    Its middleware hooks are called only where a middleware overrides them, with Dramatiq's rules for errors.
    """

    name: ClassVar[str]
    """What people call it."""

    writes_failures: bool = False
    """Whether `settle` itself writes the row of a failed job, in the transaction that gives the message up.

    Then it also says in `kept` whether there is one: there is none for a failure that came too late.
    """

    settles_as_it_claims = True
    """Whether `exchange` is one step, which an error undoes as a whole."""

    claim_size = 256
    """How many jobs are claimed at once at most: others may wait for as long as a claim takes."""

    def __init__(self, middleware: list[Middleware] | None = None) -> None:
        self._hooks = SignalHooks(self)
        self._booted = False
        self.coordinator: Coordinator | None = None
        super().__init__(middleware or [])
        for stock in STOCK:
            self.actor_options |= stock().actor_options
        forget_in_children(self)

    def after_fork(self) -> None:
        """The worker that feeds from this broker lives in the parent."""
        self.coordinator = None

    @abstractmethod
    def put(self, messages: Sequence[Encoded]) -> None:
        """Store messages, all or none."""

    @abstractmethod
    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        """Claim up to so many ready jobs, serving the queues in this order."""

    @abstractmethod
    def settle(self, claims: Sequence[Claim]) -> int:
        """Perform the outcomes of claims, all or none; returns how many were stale: no longer this worker's."""

    def exchange(
        self, owner: str, claims: Sequence[Claim], queues: Sequence[str], limit: int
    ) -> tuple[int, list[Claim]]:
        """Settle, then claim: in one transaction where the broker can."""
        stale = self.settle(claims) if claims else 0
        return stale, self.claim(owner, queues, limit) if limit > 0 and queues else []

    def mark(self, claims: Sequence[Claim]) -> list[Claim]:
        """Note that these jobs are about to run; returns those that are still this worker's."""
        return list(claims)

    def wait(self, inbox: Any, timeout: float) -> Any:
        """Wait for something in the coordinator's inbox, or for work that came from elsewhere.

        Raises:
          queue.Empty: The time is over.
        """
        return inbox.get(timeout=timeout)

    @abstractmethod
    def size(self, queue: str, state: State = "ready") -> int:
        """How many jobs of a queue are in a state."""

    def holds_any(self, queue: str) -> bool:
        """Whether a queue holds a job in any state, at one moment: one on its way from state to state is one."""
        raise NotImplementedError

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue holds no job.

        Parameters:
          queue_name: The queue.
          timeout: In milliseconds; None waits for ever.

        Raises:
          QueueJoinTimeout: The time is over.
        """
        until = None if timeout is None else time.monotonic() + timeout / 1000
        while self.holds_any(queue_name):
            if until is not None and time.monotonic() > until:
                raise QueueJoinTimeout(  # type: ignore[no-untyped-call]  # Dramatiq's error has no annotations
                    f"queue {queue_name!r} still holds jobs after {timeout} ms"
                )
            time.sleep(LOOK)

    @abstractmethod
    def clear(self, queue: str) -> int:
        """Drop a queue's ready and delayed jobs; running and failed ones stay. Returns how many were dropped."""

    @abstractmethod
    def queue_names(self) -> set[str]:
        """The queues that hold jobs, and those that are declared."""

    def ready_queues(self) -> set[str]:
        """The queues that a worker should look at which serves them all."""
        return self.queue_names()

    def attach(self, owner: str, coordinator: Coordinator) -> str:
        """A worker begins; returns the name under which it claims."""
        return owner

    def detach(self, owner: str) -> None:
        """A worker has settled and given back all that it held."""

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Put one message, after a delay in milliseconds."""
        self.enqueue_many([(message, delay)])
        return message

    def put_within(self, transaction: Any, messages: Sequence[Encoded]) -> None:
        """Put messages by a transaction of the caller's: they are there when it commits, and never if it doesn't.

        Raises:
          Unsupported: This broker keeps no jobs in a database.
        """
        raise Unsupported(
            f"The {self.name} broker keeps no jobs in a database, so a push can't be part of a transaction; "
            "push after its commit."
        )

    def enqueue_many(self, messages: Iterable[Delayed], limit: int | None = None, within: Any = None) -> None:
        """Put messages together, all or none.

        Parameters:
          messages: What is put.
          limit: How many bytes each may have, encoded.
          within: A transaction of the caller's; else they are there at once.

        Raises:
          InvalidPayload: JSON can't say one of them.
          PayloadTooLarge: One is larger than the limit.
        """
        batch = [(self._landing(message), self._wait(message, delay)) for message, delay in messages]
        for message, delay in batch:
            self.emit_before("enqueue", message, delay)
        # Only now: a hook may have added to the options.
        encoded = [(message, delay, envelope.encode(message, limit)) for message, delay in batch]
        if within is None:
            self.put(encoded)
        else:
            self.put_within(within, encoded)
        if self.coordinator is not None:
            self.coordinator.completer.wake()
        for message, delay in batch:
            self.emit_after("enqueue", message, delay)

    def _landing(self, message: Any) -> Message[Any]:
        if message.queue_name not in self.queues:
            check_queue_name(message.queue_name)
        plain: Message[Any] = message.copy() if isinstance(message, MessageProxy) else message
        return plain

    def _wait(self, message: Message[Any], delay: int | None) -> int | None:
        # An eta is how stock producers say a delay; left in the message, Dramatiq's worker would hold it in memory.
        eta = message.options.pop("eta", None)
        return delay if delay is not None or eta is None else max(eta - current_millis(), 0)

    def priority_of(self, message: Message[Any]) -> int:
        """0 to 5, higher is more urgent."""
        return envelope.priority(message, self.actors.get(message.actor_name))

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            check_queue_name(queue_name)
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        if "gello_priority" not in actor.options:
            self._admit_stock_actors()
        super().declare_actor(actor)

    def _admit_stock_actors(self) -> None:
        if any(isinstance(middleware, TimeLimit) for middleware in self.middleware):
            return
        for stock in STOCK:
            self.add_middleware(stock())
            if self._booted:
                self.middleware[-1].after_process_boot(self)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> Consumer:
        if self.coordinator is None:
            raise Unsupported(
                f"The {self.name} broker is read by a worker; start one with gello.worker() or `gello work`."
            )
        return self.coordinator.lane(queue_name, timeout / 1000)

    def add_middleware(self, middleware: Middleware, **position: Any) -> None:
        super().add_middleware(middleware, **position)
        # A new one: another thread may be filling the old one.
        self._hooks = SignalHooks(self)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        for hook in self._hooks[signal][0]:
            try:
                hook(self, *args, **kwargs)
            except MiddlewareError:
                raise
            except Exception:
                self.logger.critical("Unexpected failure in before_%s of %r.", signal, hook, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        if signal == "process_boot":
            self._booted = True
        for hook in self._hooks[signal][1]:
            try:
                hook(self, *args, **kwargs)
            except Exception:
                self.logger.critical("Unexpected failure in after_%s of %r.", signal, hook, exc_info=True)

    def flush(self, queue_name: str) -> None:
        self.clear(queue_name)

    def flush_all(self) -> None:
        for queue_name in self.queue_names():
            self.flush(queue_name)
