"""Handlers and hooks as they are called: one that could never run is refused, and jobs share no mutable default."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .errors import InvalidDefinition


def check_handler(name: str, handler: Callable[..., Any]) -> None:
    """Refuse a handler that a call doesn't run.

    Raises:
      InvalidDefinition: It is a generator.
    """
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise InvalidDefinition(
            f"{name}: its handler is a generator, as it says yield: called, it would do nothing. "
            "Take the yield out, or loop over the generator in a handler of its own."
        )


def check_call(name: str, what: str, function: Callable[..., Any], first: Iterable[str], names: Iterable[str]) -> None:
    """Refuse a handler or hook that doesn't take what it will be called with.

    Parameters:
      name: The job's name, for errors.
      what: Which of its functions this is.
      function: The function.
      first: What it is called with by position.
      names: What it is called with by name.

    Raises:
      InvalidDefinition: It can't be called so.
    """
    try:
        inspect.signature(function).bind(*first, **dict.fromkeys(names))
    except TypeError as error:
        arguments = ", ".join([*first, *names]) or "nothing"
        raise InvalidDefinition(
            f"{name}: {what} is called with {arguments}, and doesn't take that: {error}; "
            "a function's hooks take what its handler takes, a class's only self (on_failure also the error)."
        ) from None


def refuse_method(name: str, function: Any) -> None:
    """Refuse a method as a job function.

    Raises:
      InvalidDefinition: It is one.
    """
    owner = getattr(function, "__qualname__", "").rpartition(".")[0]
    in_class = bool(owner) and not owner.endswith("<locals>")
    first = next(iter(inspect.signature(function).parameters), None) if inspect.isfunction(function) else None
    if isinstance(function, classmethod) or (in_class and first in ("self", "cls")):
        raise InvalidDefinition(
            f"{name}: a method can't be a job, as a worker has no object to call it on: make it a function outside the "
            f"class (or a staticmethod), or write the job as a class: class {name.title().replace('_', '')}(Queueable)."
        )


def defaults_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The values that a function's parameters have when a payload leaves them out."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def called_by_name(function: Callable[..., Any], defaults: Mapping[str, Any]) -> Callable[..., Any]:
    """A function as it is called: with a payload, completed by the handler's defaults, and what comes before it.

    Each call has its own copy of a mutable default.
    """
    mutable = {name: value for name, value in defaults.items() if not _is_hashable(value)}
    if not defaults:
        return lambda payload, *first: function(*first, **payload)
    return lambda payload, *first: function(*first, **{**defaults, **copy.deepcopy(mutable), **payload})


def refuse_unrun(result: Any) -> None:
    """Refuse the result of a handler that only made something to be run.

    Raises:
      TypeError: It is a coroutine, a generator, or another awaitable.
    """
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"the handler returned a {type(result).__name__}, which nobody runs: declare it with async def, and await."
        )


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
