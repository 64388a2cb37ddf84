"""The queue service: what an app pushes with (Laravel's verbs)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from datetime import timedelta
from typing import Any, ParamSpec, get_args, overload

from dramatiq import Broker, Message

from . import envelope
from .actor import JobActor
from .broker import Delayed, GelloBroker, State
from .definition import Definition, PendingJob, definition_of
from .durations import Delay
from .durations import delay as read_delay
from .errors import InvalidPayload, InvalidSetting, Unsupported
from .job import Job
from .job_class import Queueable
from .job_function import QueueableFunction
from .options import queue_name

P = ParamSpec("P")
Pushable = PendingJob | Queueable

MAX_PAYLOAD = 1024 * 1024
"""The default limit of an encoded message, in bytes."""


class Queue:
    """Pushes jobs to one broker.

    Parameters:
      broker: Where they go.
      admit: Makes the broker know a definition; called for each job that is pushed.
      default_queue: Where a job goes that says nothing about it.
      max_payload: The largest encoded message, in bytes.
    """

    def __init__(
        self,
        broker: Broker,
        admit: Callable[[Definition], object],
        *,
        default_queue: str = "default",
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self.broker = broker
        self._admit = admit
        self.default_queue = queue_name(default_queue)
        self.max_payload = max_payload
        self._transaction: Any = None

    def within(self, transaction: Any) -> Queue:
        """The same queue service for pushes in a transaction: they are there when it commits, and never if it doesn't.

        Parameters:
          transaction: A SQLAlchemy Connection or Session on the broker's database. Of their async twins give what
            `run_sync` gives: `await session.run_sync(lambda sync: gello.queue.within(sync).push(…))`.

        Raises:
          InvalidSetting: It is neither, or one of another database. Except for None it is raised by the push.
          Unsupported: The broker keeps no jobs in a database. It is raised by the push.
        """
        if transaction is None:
            raise InvalidSetting("within(None): give a SQLAlchemy Connection or Session.")
        twin = copy(self)
        twin._transaction = transaction
        return twin

    @overload
    def push(self, job: QueueableFunction[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def push(self, job: Callable[P, Queueable], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def push(self, job: Pushable, /) -> Job: ...

    def push(self, job: Any, /, *args: Any, **kwargs: Any) -> Job:
        """Push a job now: a job and its payload, an instance of a job class, or a pending job.

        Raises:
          InvalidPayload: The payload isn't what the job takes.
          PayloadTooLarge: It is larger than the limit.
        """
        return self._push(pend(job, args, kwargs))

    @overload
    def push_on(self, queue: str, job: QueueableFunction[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def push_on(self, queue: str, job: Callable[P, Queueable], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def push_on(self, queue: str, job: Pushable, /) -> Job: ...

    def push_on(self, queue: str, job: Any, /, *args: Any, **kwargs: Any) -> Job:
        """Push a job now, to this queue."""
        return self._push(pend(job, args, kwargs).on(queue))

    @overload
    def later(self, delay: Delay, job: QueueableFunction[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def later(self, delay: Delay, job: Callable[P, Queueable], /, *args: P.args, **kwargs: P.kwargs) -> Job: ...

    @overload
    def later(self, delay: Delay, job: Pushable, /) -> Job: ...

    def later(self, delay: Delay, job: Any, /, *args: Any, **kwargs: Any) -> Job:
        """Push a job that runs after a delay (a timedelta, seconds, a text), or at a moment (a datetime)."""
        return self._push(pend(job, args, kwargs), read_delay(delay))

    def bulk(self, jobs: Iterable[Pushable], *, delay: Delay = 0) -> list[Job]:
        """Push many jobs together: all or none, and much faster than one by one.

        Parameters:
          jobs: Pending jobs (`send.job(…)`) and instances of job classes.
          delay: How long they all wait.
        """
        wait = envelope.millis(read_delay(delay)) or None
        messages = [self._message(pend(job, (), {})) for job in jobs]
        self._enqueue([(message, wait) for message in messages])
        return [self._job(message) for message in messages]

    def size(self, queue: str | None = None, *, state: State = "ready") -> int:
        """How many jobs of a queue are ready, delayed (waiting for their time) or reserved (held by a worker).

        Raises:
          InvalidSetting: There is no such state.
          Unsupported: The broker can't tell.
        """
        if state not in get_args(State):
            raise InvalidSetting(f"state={state!r}: give one of {', '.join(get_args(State))}.")
        return self._ours("size").size(queue_name(queue or self.default_queue), state)

    def clear(self, queue: str | None = None) -> int:
        """Drop a queue's ready and delayed jobs; running and failed ones stay. Returns how many were dropped."""
        return self._ours("clear").clear(queue_name(queue or self.default_queue))

    def names(self) -> list[str]:
        """The queues that hold jobs and those that jobs are declared for, sorted."""
        broker = self.broker
        known = broker.queue_names() if isinstance(broker, GelloBroker) else broker.get_declared_queues()
        return sorted(known)

    def _push(self, pending: PendingJob, delay: timedelta = timedelta(0)) -> Job:
        message = self._message(pending)
        self._enqueue([(message, envelope.millis(delay) or None)])
        return self._job(message)

    def _message(self, pending: PendingJob) -> Message[Any]:
        self._admit(pending.definition)
        queue = pending.overrides.queue or pending.definition.options.queue or self.default_queue
        return envelope.build(pending, queue)

    def _enqueue(self, messages: list[Delayed]) -> None:
        if not messages:
            return
        for queue in {message.queue_name for message, _ in messages}:
            self.broker.declare_queue(queue)
        if self._transaction is not None:
            self._ours("within").enqueue_many(messages, self.max_payload, self._transaction)
        elif isinstance(self.broker, GelloBroker):
            self.broker.enqueue_many(messages, self.max_payload)
        else:
            for message, _ in messages:
                envelope.encode(message, self.max_payload)
            for message, delay in messages:
                self.broker.enqueue(message, delay=delay)

    def _job(self, message: Message[Any]) -> Job:
        actor = self.broker.actors.get(message.actor_name)
        limit = actor.limits_of(message).max_attempts if isinstance(actor, JobActor) else None
        return envelope.job(message, limit, 0, envelope.priority(message, actor))

    def _ours(self, verb: str) -> GelloBroker:
        if not isinstance(self.broker, GelloBroker):
            raise Unsupported(
                f"{type(self.broker).__name__} is a stock Dramatiq broker and can't tell `{verb}`; "
                "give Gello a URL, and it makes a broker of its own."
            )
        return self.broker


def pend(job: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PendingJob:
    """A pending job, from any form in which one can be given.

    Raises:
      InvalidDefinition: It is no job.
      InvalidPayload: The payload isn't what the job takes.
    """
    if isinstance(job, PendingJob | Queueable):
        pending = job if isinstance(job, PendingJob) else job.job()
        if args or kwargs:
            raise InvalidPayload(f"{pending.definition.name}: this job has its payload already; push it without more.")
        return pending
    if isinstance(job, type) and issubclass(job, Queueable):
        return job(*args, **kwargs).job()
    if isinstance(job, QueueableFunction):
        return job.job(*args, **kwargs)
    definition = definition_of(job)
    return PendingJob(definition, definition.schema.dump(dict(definition.schema.bind(args, kwargs))))
