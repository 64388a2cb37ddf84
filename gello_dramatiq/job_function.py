"""A job written as a function: the decorator `@queueable`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from . import current
from .definition import Definition, PendingJob, job_name
from .durations import Delay
from .errors import InvalidDefinition
from .handler import called_by_name, check_call, check_handler, defaults_of, refuse_method
from .job import Job
from .options import JobOptions, PushOptions, push_options, read_options
from .payload import Schema, function_type, parameters
from .push import Push

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class QueueableFunction(Generic[P, R]):
    """A function that is a job. Calling it just calls it; `push` hands it to a queue."""

    def __init__(self, function: Callable[P, R], name: str | None, options: dict[str, Any]) -> None:
        if not inspect.isroutine(function):
            raise InvalidDefinition(
                f"@queueable takes a function, not {function!r}; "
                'for a class, derive from Queueable; options have names: @queueable(queue="emails").'
            )
        name = job_name(name or function.__name__)
        refuse_method(name, function)
        check_handler(name, function)
        self._names = [each.name for each in parameters(function, name)]
        self._defaults = defaults_of(function)
        update_wrapper(self, function)
        self._function: Callable[P, R] = function
        self._signature = inspect.signature(function)
        self.definition = Definition(
            name=name,
            schema=Schema(name, lambda: function_type(function, name)),
            options=read_options(name, options),
            handle=called_by_name(function, self._defaults),
            is_async=inspect.iscoroutinefunction(function),
            source=function,
        )
        self.definition.schema.check()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<queueable {self.definition.name}>"

    def job(self, *args: P.args, **kwargs: P.kwargs) -> PendingJob:
        """Make a pending job, for `queue.bulk`, chains and batches.

        Raises:
          InvalidPayload: The arguments aren't what the job takes.
        """
        values = self._named(args, kwargs) if args else kwargs
        return PendingJob(self.definition, self.definition.schema.dump(values))

    def push(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it now.

        Raises:
          InvalidPayload: The arguments aren't what the job takes.
          NoCurrentApp: There is no queue to push to.
        """
        return current.queue().push(self.job(*args, **kwargs))

    def later(self, delay: Delay, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it to run after a delay (a timedelta, seconds, a text), or at a moment (a datetime)."""
        return current.queue().later(delay, self.job(*args, **kwargs))

    def on(self, queue: str) -> Push[P]:
        """Push to another queue: `send.on("high").push(…)`."""
        return self.with_options(queue=queue)

    def with_options(self, **options: Unpack[PushOptions]) -> Push[P]:
        """Push with other options: queue, priority, max_attempts, timeout, retry_after, retry_until."""
        return Push(self.definition.name, self.job, push_options(self.definition.name, options))

    def before_handle(self, hook: Callable[P, T]) -> Callable[P, T]:
        """Decorate what runs before the handler, with the same arguments; its error fails the attempt."""
        self.definition.hooks.before_handle = self._hook("before_handle", hook)
        return hook

    def after_handle(self, hook: Callable[P, T]) -> Callable[P, T]:
        """Decorate what runs after the handler, with the same arguments; its error fails the attempt."""
        self.definition.hooks.after_handle = self._hook("after_handle", hook)
        return hook

    def on_failure(
        self, hook: Callable[Concatenate[BaseException, P], T]
    ) -> Callable[Concatenate[BaseException, P], T]:
        """Decorate what runs once, after the job is kept as failed: it takes the error, then the same arguments."""
        self.definition.hooks.on_failure = self._hook("on_failure", hook, "error")
        return hook

    def _hook(self, what: str, hook: Callable[..., Any], *first: str) -> Callable[..., Any]:
        check_call(self.definition.name, what, hook, first, self._names)
        return called_by_name(hook, self._defaults)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError:
            # What can be given a name although the call doesn't fit, so that the schema can say what is wrong.
            return dict(self.definition.schema.bind(args, kwargs))


if TYPE_CHECKING:

    @overload
    def queueable(function: Callable[P, R], /) -> QueueableFunction[P, R]: ...

    @overload
    def queueable(**options: Unpack[JobOptions]) -> Callable[[Callable[P, R]], QueueableFunction[P, R]]: ...


def queueable(function: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a job of a function, sync or async.

    Parameters:
      name: What the job is called on the wire; the function's name by default.
      options: See `Options`: queue, priority, max_attempts, timeout, retry_after, backoff, retry_for, fail_for,
        retry_until, middleware, rerun_after_crash.

    Raises:
      InvalidDefinition: It can't work as declared; the message says the fix.
    """
    if function is not None:
        return QueueableFunction(function, name, options)
    return lambda function: QueueableFunction(function, name, options)
