"""How a job is treated: what a definition, or one push, may say about it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, TypedDict

from .backoff import AnyBackoff, Backoff, Constant, as_backoff
from .durations import Duration, duration
from .errors import GelloError, InvalidDefinition, InvalidQueueName
from .outcome import ErrorTypes, Limits
from .pipeline import JobMiddleware, as_middleware

QUEUE_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a definition, or one push, says about how a job is treated. None leaves it to the next in line.

    The order: this push (`with_options`), the definition, the worker's flags, the settings, the default.

    Attributes:
      queue: Where it is pushed.
      priority: 0 to 5, higher is more urgent.
      max_attempts: How many runs may end in an error, a timeout or a dead worker.
      timeout: How long the handler may run.
      retry_after: The wait between attempts when there is no backoff.
      backoff: The wait between attempts: a duration, a list, `backoff.exponential(…)`, or a function.
      retry_for: Only these errors are retried.
      fail_for: These errors end the job at once.
      retry_until: How long after the push it may be tried; without `max_attempts`, as often as that allows.
      middleware: Callables around the handler, the first one outermost.
      rerun_after_crash: False for a job that must not run again after its worker died in it.
    """

    queue: str | None = None
    priority: int | None = None
    max_attempts: int | None = None
    timeout: timedelta | None = None
    retry_after: timedelta | None = None
    backoff: Backoff | None = None
    retry_for: ErrorTypes | None = None
    fail_for: ErrorTypes = ()
    retry_until: timedelta | None = None
    middleware: tuple[JobMiddleware, ...] = ()
    rerun_after_crash: bool | None = None

    def over(self, below: Options) -> Options:
        """These options, and `below` where they say nothing."""
        said: dict[str, Any] = {
            name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None and value != ()
        }
        # Two ways to say one thing: whoever says one of them means it, whatever stands below in the other's words.
        if self.retry_after is not None and self.backoff is None:
            said["backoff"] = None
        if self.retry_until is not None and self.max_attempts is None:
            said["max_attempts"] = None
        return replace(below, **said) if said else below

    def limits(self) -> Limits:
        """The limits of an attempt, once everything is said (see `DEFAULTS`)."""
        timeout, wait = self.timeout or DEFAULT_TIMEOUT, self.retry_after
        return Limits(
            max_attempts=self.max_attempts,
            timeout=timeout,
            backoff=self.backoff or Constant(DEFAULT_RETRY_AFTER if wait is None else wait),
            retry_for=self.retry_for,
            fail_for=self.fail_for,
            retry_until=self.retry_until,
        )


OPTION_NAMES = tuple(option.name for option in fields(Options))


NOTHING_SAID = Options()
"""What a push says that says nothing."""


class PushOptions(TypedDict, total=False):
    """What one push may override: what can travel in a message."""

    queue: str | None
    priority: int | None
    max_attempts: int | None
    timeout: Duration | None
    retry_after: Duration | None
    retry_until: Duration | None


class JobOptions(PushOptions, total=False):
    """What a definition may say, as a person writes it; `name` is what it is called on the wire. See `Options`."""

    name: str | None
    backoff: AnyBackoff | None
    retry_for: type[BaseException] | ErrorTypes | None
    fail_for: type[BaseException] | ErrorTypes | None
    middleware: list[JobMiddleware] | None
    rerun_after_crash: bool | None


DEFAULT_TIMEOUT = timedelta(seconds=60)
DEFAULT_RETRY_AFTER = timedelta(seconds=60)
DEFAULTS = Options(
    queue="default",
    priority=0,
    max_attempts=3,
    timeout=DEFAULT_TIMEOUT,
    retry_after=DEFAULT_RETRY_AFTER,
    rerun_after_crash=True,
)


def read_options(owner: str, said: Mapping[str, Any], allowed: Sequence[str] = OPTION_NAMES) -> Options:
    """Read options as a person wrote them.

    Parameters:
      owner: Whose they are, for errors.
      said: The options by name.
      allowed: The names that may be used here.

    Raises:
      InvalidDefinition: An option is unknown or can't be used; the message says the fix.
      InvalidQueueName, InvalidDuration: So is a queue's name, or a duration.
    """
    read: dict[str, Any] = {}
    for name, value in said.items():
        if name not in allowed:
            raise InvalidDefinition(_unknown(owner, name, allowed))
        if value is None:
            continue
        try:
            read[name] = _READ[name](value)
        except InvalidDefinition as error:
            raise InvalidDefinition(f"{owner}: {error}") from None
        except GelloError as error:
            raise type(error)(f"{owner}: {name}: {error}") from None
    return Options(**read)


def push_options(name: str, said: Mapping[str, Any]) -> Options:
    """Read what one push of a job says for itself: only what can travel in a message.

    Raises:
      InvalidDefinition: An option is unknown or can't be used.
    """
    return read_options(f"{name}.with_options", said, tuple(PushOptions.__annotations__))


def queue_name(value: str) -> str:
    """Check a queue's name.

    Raises:
      InvalidQueueName: It isn't one.
    """
    if not isinstance(value, str) or not QUEUE_NAME.fullmatch(value):
        raise InvalidQueueName(f"{value!r} is no queue name. {InvalidQueueName.__doc__} At most 128 characters.")
    return value


def _unknown(owner: str, name: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(allowed)}."
    return f"{owner}: {name!r} is no option here{hint}"


def _whole(name: str, least: int, most: int | None) -> Callable[[Any], int]:
    bounds = f"{least} to {most}" if most is not None else f"{least} or more"

    def read(value: Any) -> int:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or value < least
            or (most is not None and value > most)
        ):
            raise InvalidDefinition(f"{name}={value!r}: give a whole number, {bounds}.")
        return int(value)

    return read


def _some_time(name: str) -> Callable[[Duration], timedelta]:
    def read(value: Duration) -> timedelta:
        length = duration(value)
        if not length:
            raise InvalidDefinition(f"{name}={value!r}: give a duration above zero.")
        return length

    return read


def _errors(name: str) -> Callable[[Any], ErrorTypes]:
    def read(value: Any) -> ErrorTypes:
        types = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
        for each in types:
            if not (isinstance(each, type) and issubclass(each, BaseException)):
                raise InvalidDefinition(f"{name}={value!r}: give an exception class or a list of them.")
        return types

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidDefinition(f"rerun_after_crash={value!r}: give True or False.")
    return value


_READ: Mapping[str, Callable[[Any], Any]] = {
    "queue": queue_name,
    "priority": _whole("priority", 0, 5),
    "max_attempts": _whole("max_attempts", 1, None),
    "timeout": _some_time("timeout"),
    "retry_after": duration,
    "backoff": as_backoff,
    "retry_for": _errors("retry_for"),
    "fail_for": _errors("fail_for"),
    "retry_until": _some_time("retry_until"),
    "middleware": as_middleware,
    "rerun_after_crash": _flag,
}
