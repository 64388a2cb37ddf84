"""How long to wait before the next attempt: pure arithmetic, without a clock."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast

from .durations import Duration, duration
from .errors import InvalidDefinition


class Backoff(Protocol):
    """A rule for the wait after a failing attempt."""

    def delay(self, attempt: int, error: BaseException) -> timedelta:
        """The wait after the failing attempt number `attempt` (1-based)."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same wait every time."""

    wait: timedelta

    def delay(self, attempt: int, error: BaseException) -> timedelta:
        return self.wait


@dataclass(frozen=True)
class Steps:
    """One wait after another; the last one repeats (Laravel's array)."""

    waits: tuple[timedelta, ...]

    def delay(self, attempt: int, error: BaseException) -> timedelta:
        return self.waits[min(attempt, len(self.waits)) - 1]


@dataclass(frozen=True)
class Exponential:
    """`first × factor^(attempt - 1)`, never above `max`.

    With jitter the wait is drawn evenly from its upper half ("equal jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), so that jobs that failed together
    don't come back together and none waits longer than `max`.
    """

    first: timedelta
    factor: float
    max: timedelta
    jitter: bool

    def delay(self, attempt: int, error: BaseException) -> timedelta:
        ceiling = self.max.total_seconds()
        try:
            wait = min(self.first.total_seconds() * self.factor ** (attempt - 1), ceiling)
        except OverflowError:
            wait = ceiling if self.first else 0.0
        if self.jitter:
            wait *= random.uniform(0.5, 1.0)  # noqa: S311 (spreading load needs no secret)
        return timedelta(seconds=wait)


@dataclass(frozen=True)
class Chosen:
    """A wait that a function of yours chooses from the attempt and its error."""

    choose: Callable[[int, BaseException], Duration]

    def delay(self, attempt: int, error: BaseException) -> timedelta:
        return duration(self.choose(attempt, error))


def exponential(first: Duration = "1s", *, factor: float = 2, max: Duration = "5m", jitter: bool = True) -> Exponential:
    """Wait longer after each failing attempt.

    Parameters:
      first: The wait after the first one.
      factor: What each wait is multiplied by, 1 or more.
      max: No wait is longer.
      jitter: Draw each wait from its upper half.
    """
    if not isinstance(factor, int | float) or not factor >= 1:  # also refuses nan
        raise InvalidDefinition(f"backoff factor {factor!r} can't be used; give 1 or more, or the waits would shrink.")
    return Exponential(duration(first), factor, duration(max), jitter)


def constant(wait: Duration) -> Constant:
    """Wait the same time after every failing attempt."""
    return Constant(duration(wait))


AnyBackoff = Backoff | Duration | Sequence[Duration] | Callable[[int, BaseException], Duration]
"""What `backoff=` takes: a duration, a list of them, a rule of this module, or a function of (attempt, error)."""


def as_backoff(value: AnyBackoff) -> Backoff:
    """Read what `backoff=` was given.

    Raises:
      InvalidDefinition: It is none of the four.
      InvalidDuration: A duration in it can't be read.
    """
    match value:
        case Constant() | Steps() | Exponential() | Chosen():
            return value
        case timedelta() | int() | float() | str():
            return constant(value)
        case list() | tuple() if value:
            return Steps(tuple(duration(wait) for wait in value))
        case _ if callable(getattr(value, "delay", None)) and not isinstance(value, type):
            return cast(Backoff, value)
        case _ if callable(value) and _takes_two(value):
            return Chosen(value)
        case _:
            pass
    raise InvalidDefinition(
        f"backoff={value!r} can't be used: give a duration, a list of durations, backoff.exponential(…), "
        "or a function of (attempt, error) that returns a duration."
    )


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function takes an attempt and an error; `backoff.exponential` without its brackets doesn't."""
    try:
        inspect.signature(function).bind(1, None)
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin doesn't tell
    return True
