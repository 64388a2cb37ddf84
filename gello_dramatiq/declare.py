"""The two ways to write a job: the decorator `@queueable`, and the class `Queueable`."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from pydantic import BaseModel, PydanticUserError, ValidationError

from . import current
from .definition import Definition, Hooks, JobOptions, Options, PendingJob, PushOptions, read_options
from .durations import Delay
from .errors import InvalidDefinition, InvalidPayload
from .handler import called_by_name, check_handler
from .job import Job
from .payload import CONFIG, Schema, explain, function_type, parameters, unfit

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
JOB_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,190}")


class Push(Generic[P]):
    """A job with options for the next push, as `on` and `with_options` return it."""

    def __init__(self, pend: Callable[P, PendingJob], options: PushOptions) -> None:
        self._pend = pend
        self._options = options

    def job(self, *args: P.args, **kwargs: P.kwargs) -> PendingJob:
        """Make a pending job; nothing is pushed."""
        return self._pend(*args, **kwargs).with_options(**self._options)

    def push(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it now."""
        return current.queue().push(self.job(*args, **kwargs))

    def later(self, delay: Delay, /, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Push it to run after a delay, or at a moment."""
        return current.queue().later(delay, self.job(*args, **kwargs))

    def on(self, queue: str) -> Push[P]:
        """The same, for another queue."""
        return self.with_options(queue=queue)

    def with_options(self, **options: Unpack[PushOptions]) -> Push[P]:
        """The same, with more options: queue, priority, max_attempts, timeout, retry_after, retry_until."""
        return Push(self._pend, {**self._options, **options})


class QueueableFunction(Generic[P, R]):
    """A function that is a job. Calling it just calls it; `push` hands it to a queue."""

    def __init__(self, function: Callable[P, R], name: str | None, options: dict[str, Any]) -> None:
        if not inspect.isroutine(function):
            raise InvalidDefinition(f"@queueable takes a function; for a class, derive from Queueable: {function!r}.")
        name = job_name(name or function.__name__)
        check_handler(name, function)
        parameters(function, name)
        update_wrapper(self, function)
        self._function: Callable[P, R] = function
        self._signature = inspect.signature(function)
        self.definition = Definition(
            name=name,
            schema=Schema(name, lambda: function_type(function, name)),
            options=read_options(name, options),
            handle=called_by_name(function),
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
        try:
            values = self._signature.bind(*args, **kwargs).arguments
        except TypeError:
            values = self._named(args, kwargs)
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
        return Push(self.job, options)

    def before_handle(self, hook: Callable[P, T]) -> Callable[P, T]:
        """Decorate what runs before the handler, with the same arguments; its error fails the attempt."""
        self.definition.hooks.before_handle = called_by_name(hook)
        return hook

    def after_handle(self, hook: Callable[P, T]) -> Callable[P, T]:
        """Decorate what runs after the handler, with the same arguments; its error fails the attempt."""
        self.definition.hooks.after_handle = called_by_name(hook)
        return hook

    def on_failure(
        self, hook: Callable[Concatenate[BaseException, P], T]
    ) -> Callable[Concatenate[BaseException, P], T]:
        """Decorate what runs once, after the job is kept as failed: it takes the error, then the same arguments."""
        call: Callable[..., Any] = hook
        self.definition.hooks.on_failure = lambda payload, error: call(error, **payload)
        return hook

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What can be given a name although the call doesn't fit, so that the schema can say what is wrong."""
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


if TYPE_CHECKING:
    # pyright reads fields only where the metaclass itself is marked as a dataclass transform, as pydantic's is.
    from pydantic._internal._model_construction import ModelMetaclass as _QueueableType
else:

    class _QueueableType(type(BaseModel)):
        def __new__(mcs, *args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                # pydantic only warns of a field that hides a method; we refuse it, with the reason.
                warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)
                try:
                    made = super().__new__(mcs, *args, **kwargs)
                    # pydantic looks for types where its own __new__ is called from, which is here: look one frame up.
                    made.model_rebuild(raise_errors=False, _parent_namespace_depth=3)
                    return made
                except PydanticUserError as error:
                    raise InvalidDefinition(unfit(args[0], error)) from error

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            # Here, not in __init__: pydantic would call a custom __init__ whenever a worker loads a payload.
            try:
                return super().__call__(*args, **kwargs)
            except ValidationError as error:
                raise InvalidPayload(f"{cls.__name__}: {explain(error)}") from error


class Queueable(BaseModel, metaclass=_QueueableType):
    """A job as a class: its fields are the payload, its keywords the options.

    Example::

        class ProcessReport(Queueable, queue="reports", max_attempts=5, timeout="1h"):
            report_id: int

            def handle(self) -> None: ...


        ProcessReport(report_id=3).push()

    Define `handle`, and if you like `before_handle`, `after_handle` and `on_failure(error)`. Options are inherited;
    a class without a `handle` is only a base for others.
    """

    model_config = CONFIG

    definition: ClassVar[Definition]
    _options: ClassVar[Options] = Options()

    if TYPE_CHECKING:

        def __init_subclass__(cls, **options: Unpack[JobOptions]) -> None: ...

    else:

        def __init_subclass__(cls, **options: Any) -> None:
            """Leave the options to `__pydantic_init_subclass__`, which runs when the fields are known."""

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **options: Any) -> None:
        label = job_name(name or cls.__name__)
        _refuse_hidden_methods(cls, label)
        cls._options = read_options(label, options).over(cls._options)
        handle = getattr(cls, "handle", None)
        if handle is None:
            return
        check_handler(label, handle)
        cls.definition = Definition(
            name=label,
            schema=Schema(label, lambda: cls),
            options=cls._options,
            handle=handle,
            is_async=inspect.iscoroutinefunction(handle),
            source=cls,
            hooks=Hooks(*(getattr(cls, hook, None) for hook in ("before_handle", "after_handle", "on_failure"))),
        )
        cls.definition.schema.check()

    def job(self) -> PendingJob:
        """This payload as a pending job."""
        definition: Definition | None = getattr(type(self), "definition", None)
        if definition is None or definition.source is not type(self):
            raise InvalidDefinition(f"{type(self).__name__} has no handle() yet, so it is no job.")
        return PendingJob(definition, definition.schema.dump(self))

    def push(self) -> Job:
        """Push it now.

        Raises:
          NoCurrentApp: There is no queue to push to.
        """
        return current.queue().push(self.job())

    def later(self, delay: Delay) -> Job:
        """Push it to run after a delay (a timedelta, seconds, a text), or at a moment (a datetime)."""
        return current.queue().later(delay, self.job())

    def on(self, queue: str) -> Push[[]]:
        """Push to another queue: `ProcessReport(report_id=3).on("high").push()`."""
        return self.with_options(queue=queue)

    def with_options(self, **options: Unpack[PushOptions]) -> Push[[]]:
        """Push with other options: queue, priority, max_attempts, timeout, retry_after, retry_until."""
        return Push(self.job, options)


_RESERVED = frozenset(name for name in dir(Queueable) if not name.startswith("_")) | {
    "handle", "before_handle", "after_handle", "on_failure", "definition",
}  # fmt: skip


def job_name(name: str) -> str:
    """Check a job's name.

    Raises:
      InvalidDefinition: It isn't one.
    """
    if not isinstance(name, str) or not JOB_NAME.fullmatch(name):
        raise InvalidDefinition(
            f"{name!r} is no job name: it starts with a letter or '_' and goes on with letters, digits, "
            "'_', '.', ':' and '-', 191 characters at most."
        )
    return name


def definition_of(job: Any) -> Definition:
    """The definition behind a job function, a job class, an instance of one, or a definition itself.

    Raises:
      InvalidDefinition: It is none of them.
    """
    found = job if isinstance(job, Definition) else getattr(job, "definition", None)
    if not isinstance(found, Definition):
        raise InvalidDefinition(f"{job!r} is no job: decorate a function with @queueable, or derive from Queueable.")
    return found


def _refuse_hidden_methods(cls: type[Queueable], label: str) -> None:
    for field in cls.model_fields:
        if field in _RESERVED:
            raise InvalidDefinition(
                f"{label}: a field can't be called {field!r}, which is a method of the class; "
                f"rename it and keep the name on the wire with Field(alias={field!r})."
            )


__all__ = ["Push", "Queueable", "QueueableFunction", "definition_of", "queueable"]
