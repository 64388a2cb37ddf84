"""Reads what a flag was given, so that an error names the flag."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

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
        raise InvalidSetting(f"{flag}: {error}") from error
