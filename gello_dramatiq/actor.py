"""A definition compiled for a broker, and the run of one attempt."""

from __future__ import annotations

import inspect
import logging
import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dramatiq import Actor, Broker
from dramatiq.common import current_millis
from dramatiq.middleware import SkipMessage
from dramatiq.worker import has_results_middleware

from . import current, envelope
from .broker import GelloBroker
from .claim import Claim
from .deadline import Watchdog
from .definition import Definition
from .errors import InvalidPayload, JobCrashed, JobExpired, JobUnloadable, Unsupported
from .handler import refuse_unrun
from .job import Job
from .loop import LoopThread
from .options import DEFAULTS, Options
from .outcome import Limits
from .pipeline import compose

if TYPE_CHECKING:
    from .queue import Queue

log = logging.getLogger("gello.jobs")


class Runner(threading.local):
    """What the attempts of an app share: the deadlines, the event loop, its queue, and each thread's own message."""

    watchdog: Watchdog
    loop: LoopThread
    queue: Queue
    message: Any = None
    began: float = 0.0

    def __init__(self, queue: Queue, watchdog: Watchdog, loop: LoopThread) -> None:
        self.queue, self.watchdog, self.loop = queue, watchdog, loop

    def finish(self, result: Any) -> Any:
        """The result of a hook, sync or async."""
        return self.loop.run(result) if inspect.iscoroutine(result) else result


class JobActor(Actor[..., Any]):
    """A definition as a Dramatiq actor. Calling it runs one attempt of the message that its thread works on."""

    def __init__(self, definition: Definition, broker: Broker, runner: Runner, settings: Options) -> None:
        self.definition = definition
        self.runner = runner
        self.settings = settings
        self.limit_by(Options())
        if self.runs_once and not isinstance(broker, GelloBroker):
            raise Unsupported(
                f"{definition.name}: rerun_after_crash=False can't be kept on {type(broker).__name__}, a stock broker: "
                "it runs a dead worker's jobs again. Let Gello make a broker, from a URL, or drop the option."
            )
        # Before Actor's own: it refuses a name that is taken, and compiling again is how a definition is replaced.
        broker.actors.pop(definition.name, None)
        super().__init__(
            self.__call__,
            broker=broker,
            actor_name=definition.name,
            queue_name=self.resolved.queue or "default",
            # Our coordinator orders by priority; Dramatiq's FIFO work queue keeps that order only among equals.
            priority=0,
            options={"gello_priority": self.resolved.priority or 0, "time_limit": float("inf")},
        )

    def limit_by(self, worker: Options) -> None:
        """Take a worker's flags into account: they stand above the settings and below the definition."""
        self.resolved = self.definition.options.over(worker.over(self.settings).over(DEFAULTS))
        self.limits = self.resolved.limits()

    @property
    def runs_once(self) -> bool:
        """Whether it must not run again once it has begun."""
        return not self.resolved.rerun_after_crash

    def limits_of(self, message: Any) -> Limits:
        """The limits of one job: its push may have said something for itself."""
        if envelope.OPTION not in message.options:
            return self.limits
        return envelope.overrides(message.options).over(self.resolved).limits()

    def job_of(self, message: Any) -> Job:
        """The job that a message is, as its handler sees it."""
        spent = envelope.progress(message.options, getattr(message, "deaths", 0)).spent
        return envelope.job(message, self.limits_of(message).max_attempts, spent + 1, envelope.priority(message, self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._run(args, kwargs)
        return result if result is not None and has_results_middleware(self.broker) else None

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = self.runner.message
        if message is None:
            return self.definition.handle(self._load(args, kwargs))
        if not isinstance(message, Claim):
            _check(message)
        limits = self.limits_of(message)
        self._admit(message, limits)
        payload = self._load(args, kwargs)
        tokens = current.enter(self.runner.queue, partial(self.job_of, message))
        try:
            seconds = limits.timeout.total_seconds()
            if not self.resolved.middleware:
                return self._attempt(payload, seconds)
            attempt = partial(self._attempt, payload, seconds)
            return compose(self.resolved.middleware, self.job_of(message), attempt)()
        finally:
            current.leave(tokens)

    def _attempt(self, payload: Any, seconds: float) -> Any:
        definition, hooks, runner = self.definition, self.definition.hooks, self.runner
        if hooks.before_handle is not None:
            runner.finish(hooks.before_handle(payload))
        if definition.is_async:
            result = runner.loop.run(definition.handle(payload), seconds)
        else:
            result = runner.watchdog.call(seconds, definition.handle, payload)
            if result is not None:
                refuse_unrun(result)
        if hooks.after_handle is not None:
            runner.finish(hooks.after_handle(payload))
        return result

    def _admit(self, message: Any, limits: Limits) -> None:
        """Refuse what must not run, and mark the start of what may kill its worker."""
        # Only our brokers know who died, and have a lease to mark.
        claim = message if isinstance(message, Claim) else None
        if claim is not None and claim.deaths:
            spent = envelope.progress(claim.options, claim.deaths).spent
            if self.runs_once or (limits.max_attempts is not None and spent >= limits.max_attempts):
                raise JobCrashed(_epitaph(claim.deaths, not self.runs_once))
        if limits.retry_until is not None and age(message) > limits.retry_until:
            raise JobExpired
        if claim is not None and (claim.suspect or self.runs_once):
            coordinator = cast(GelloBroker, self.broker).coordinator
            if coordinator is not None and not coordinator.mark(claim):
                # Another worker has it by now: whatever we did would happen twice.
                raise SkipMessage("the lease is lost")

    def _load(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        schema = self.definition.schema
        try:
            return schema.load(schema.bind(args, kwargs) if args else kwargs)
        except InvalidPayload as error:
            raise JobUnloadable(str(error)) from error

    def on_failure(self, message: Any, error: BaseException) -> None:
        """Call the job's `on_failure`; an error of it is logged and changes nothing."""
        hook = self.definition.hooks.on_failure
        if hook is None:
            return
        tokens = current.enter(self.runner.queue, partial(self.job_of, message))
        try:
            self.runner.finish(hook(self._load(message.args, message.kwargs), error))
        except JobUnloadable:
            log.warning(
                "%s %s: on_failure isn't called, as its payload can't be loaded.", self.actor_name, message.message_id
            )
        except KeyboardInterrupt:
            raise
        except BaseException:  # a sys.exit in a hook must not end a thread that others need
            log.exception("%s %s: on_failure raised an error.", self.actor_name, message.message_id)
        finally:
            current.leave(tokens)


def age(message: Any) -> timedelta:
    """How long ago a message was pushed."""
    return timedelta(milliseconds=current_millis() - message.message_timestamp)


def _check(message: Any) -> None:
    """What a claim is checked for when it is read: messages of a stock broker are read by Dramatiq."""
    try:
        envelope.check(message.options)
    except (TypeError, ValueError, OverflowError) as error:
        raise JobUnloadable(f"The message's options can't be read ({type(error).__name__}: {error}).") from error


def _epitaph(deaths: int, rerun: bool) -> str:
    if not rerun:
        return "The worker process died while this job ran, and rerun_after_crash=False."
    return f"The worker process died {deaths + 1} times while this job ran; it isn't tried again."
