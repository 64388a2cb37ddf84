"""A handler as it is called: one that could never run is refused, and what jobs share is not shared."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
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


def called_by_name(function: Callable[..., Any]) -> Callable[[dict[str, Any]], Any]:
    """A function as a handler or hook: it takes a payload. Each call has its own copy of a mutable default."""
    parameters = inspect.signature(function).parameters.values()
    mutable = {each.name: each.default for each in parameters if not _is_hashable(each.default)}
    if not mutable:
        return lambda payload: function(**payload)
    return lambda payload: function(**{**copy.deepcopy(mutable), **payload})


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
