"""Reads what a flag was given, so that an error names the flag, and the environment variable that spoke for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def read(flag: str, how: Callable[[str], T], text: str | None) -> T | None:
    """A flag's text, read; None if it wasn't given.

    Raises:
      InvalidSetting: It can't be read.
    """
    from ..errors import InvalidDuration, InvalidQueueName, InvalidSetting

    try:
        return None if text is None else how(text)
    except (InvalidDuration, InvalidQueueName) as error:
        raise InvalidSetting(f"{named(flag)}: {error}") from error


def named(flag: str) -> str:
    """A flag as an error names it, after its variable if that gave the value."""
    from typer._click.globals import get_current_context

    return variable(get_current_context(silent=True), flag.strip("-").replace("-", "_")) + flag


def variable(context: Any, option: str, name: str | None = None) -> str:
    """The environment variable that gave an option's value, as the beginning of a sentence; nothing if a flag did.

    Parameters:
      context: The command's.
      option: As the command's parameter is called.
      name: The variable, where it isn't called after command and option.
    """
    source = context.get_parameter_source(option) if context else None
    if source is None or source.name != "ENVIRONMENT":
        return ""
    return f"{name or f'{context.auto_envvar_prefix}_{option.upper()}'}: "
