"""A job written as a class: `Queueable`, whose fields are the payload."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from pydantic import BaseModel, PydanticUserError, ValidationError

from . import current
from .definition import Definition, Hooks, PendingJob, job_name
from .durations import Delay
from .errors import InvalidDefinition, InvalidPayload
from .handler import check_call, check_handler
from .job import Job
from .options import OPTION_NAMES, JobOptions, Options, PushOptions, push_options, read_options
from .payload import CONFIG, Schema, explain, unfit
from .push import Push

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
                    for option in OPTION_NAMES:
                        if f"`{option} = " in str(error):
                            raise InvalidDefinition(_misplaced(args[0], option)) from error
                    raise InvalidDefinition(unfit(args[0], error)) from error

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            # Here, not in __init__: pydantic would call a custom __init__ whenever a worker loads a payload.
            if args and cls.__init__ is BaseModel.__init__:
                fields = ", ".join(f"{name}=…" for name in cls.model_fields)
                given = ", ".join(map(repr, args))
                raise InvalidPayload(
                    f"{cls.__name__}: fields are given by name, {cls.__name__}({fields}), not ({given})."
                )
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
        for option in OPTION_NAMES:
            if option in vars(cls) and option not in cls.model_fields:
                raise InvalidDefinition(_misplaced(cls.__name__, option))
        cls._options = read_options(label, options).over(cls._options)
        handle = getattr(cls, "handle", None)
        if handle is None:
            return
        check_handler(label, handle)
        hooks = {what: getattr(cls, what, None) for what in ("before_handle", "after_handle", "on_failure")}
        for what, function in {"handle": handle, **hooks}.items():
            if function is not None:
                check_call(label, what, function, ("self", "error") if what == "on_failure" else ("self",), ())
        cls.definition = Definition(
            name=label,
            schema=Schema(label, lambda: cls),
            options=cls._options,
            handle=handle,
            is_async=inspect.iscoroutinefunction(handle),
            source=cls,
            hooks=Hooks(**hooks),
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
        name = type(self).__name__
        return Push(name, self.job, push_options(name, options))


class _OfAnInstance:
    """A method that explains itself when it is called on the class, as one is used to from a function's `push`."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, job: Queueable | None, owner: type[Queueable]) -> Callable[..., Any]:
        if job is not None:
            return MethodType(self._method, job)

        @wraps(self._method)
        def call(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], owner):
                return self._method(*args, **kwargs)
            name, verb, fields = owner.__name__, self._method.__name__, ", ".join(owner.model_fields)
            raise InvalidPayload(
                f"{name}.{verb} needs a job, which is made of its payload: {name}({fields}).{verb}(…)."
            )

        return call


for _verb in ("job", "push", "later", "on", "with_options"):
    # Only now: while pydantic builds the class, it would take such an object for a field.
    setattr(Queueable, _verb, _OfAnInstance(getattr(Queueable, _verb)))

_RESERVED = frozenset(name for name in dir(Queueable) if not name.startswith("_")) | {
    "handle", "before_handle", "after_handle", "on_failure", "definition",
}  # fmt: skip


def _misplaced(name: str, option: str) -> str:
    return (
        f"{name}: {option!r} is an option, which nobody reads in the body of the class; "
        f"write it beside the base: class {name}(Queueable, {option}=…)."
    )


def _refuse_hidden_methods(cls: type[Queueable], label: str) -> None:
    for field in cls.model_fields:
        if field in _RESERVED:
            raise InvalidDefinition(
                f"{label}: a field can't be called {field!r}, which is a method of the class; "
                f"rename it and keep the name on the wire with Field(alias={field!r})."
            )
