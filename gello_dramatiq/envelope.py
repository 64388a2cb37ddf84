"""What Gello writes into a Dramatiq message, and reads from it.

A job is a plain Dramatiq message: `actor_name` is the definition's name, `kwargs` the payload. Gello's own data stands
under one option, `gello`, and only when there is something to say:

- `priority`, `max_attempts`, and in milliseconds `timeout`, `retry_after`, `retry_until`: what this push said;
- `attempts`, `releases`, `unknown_since`, `history`: what has become of it.

The names `batch`, `chain`, `context`, `signature`, `trace` and `version` are reserved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from dramatiq import Actor, Message
from dramatiq.encoder import JSONEncoder
from dramatiq.message import get_encoder

from .definition import PendingJob
from .errors import InvalidPayload, PayloadTooLarge
from .job import Job, new_job_id
from .options import NOTHING_SAID, Options
from .outcome import Progress

OPTION = "gello"
FIELDS = tuple(field.name for field in fields(Message))
"""What a message consists of; asking for them takes as long as writing them."""
_MILLISECOND = timedelta(milliseconds=1)


def millis(length: timedelta) -> int:
    """A duration in Dramatiq's unit."""
    return length // _MILLISECOND


def build(pending: PendingJob, queue: str) -> Message[Any]:
    """The message of a pending job."""
    said = {} if pending.overrides is NOTHING_SAID else _written(pending.overrides)
    return Message(
        queue_name=queue,
        actor_name=pending.definition.name,
        args=(),
        kwargs=dict(pending.payload),
        options={OPTION: said} if said else {},
        message_id=new_job_id(),
    )


def encode(message: Message[Any], limit: int | None) -> bytes:
    """A message as it lies in a broker.

    Parameters:
      limit: How many bytes it may have; None is without end.

    Raises:
      InvalidPayload: JSON can't say it.
      PayloadTooLarge: It is larger than the limit.
    """
    try:
        encoder, fields = get_encoder(), {name: getattr(message, name) for name in FIELDS}
        raw = _write(fields).encode() if type(encoder) is JSONEncoder else encoder.encode(fields)
    except ValueError as error:  # an int of more than 4,300 digits, which Python doesn't write
        raise InvalidPayload(f"{message.actor_name}: its payload can't be written as JSON: {error}") from error
    if limit is not None and len(raw) > limit:
        raise PayloadTooLarge(
            f"{message.actor_name}: the message is {len(raw):,} bytes, the limit is {limit:,}; store the data "
            "elsewhere and push a reference to it, or raise max_payload (QUEUE_MAX_PAYLOAD)."
        )
    return raw


def overrides(options: Mapping[str, Any]) -> Options:
    """What a push said for itself."""
    said = options.get(OPTION) or {}
    times: dict[str, Any] = {name: timedelta(milliseconds=said[name]) for name in _TIMES if name in said}
    return Options(priority=said.get("priority"), max_attempts=said.get("max_attempts"), **times)


def check(options: Mapping[str, Any]) -> None:
    """Check what a foreign producer, or a damaged message, says in Gello's name.

    Raises:
      TypeError, ValueError, OverflowError: It can't be read.
    """
    said = options.get(OPTION)
    if said is None:
        return
    if not isinstance(said, Mapping):
        raise TypeError(f"option {OPTION} is {said!r}")
    for name in (*_TIMES, *_NUMBERS):
        if type(said.get(name, 0)) is not int:
            raise TypeError(f"option {OPTION}.{name} is {said[name]!r}")
    history = said.get("history", [])
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise TypeError(f"option {OPTION}.history is no list of objects")
    if not isinstance(said.get("traceback", ""), str):
        raise TypeError(f"option {OPTION}.traceback is no text")
    overrides(options)


def progress(options: Mapping[str, Any], deaths: int = 0) -> Progress:
    """What a message remembers of its attempts."""
    known = options.get(OPTION) or {}
    return Progress(
        attempts=known.get("attempts", 0),
        deaths=deaths,
        releases=known.get("releases", 0),
        unknown_since=known.get("unknown_since"),
        history=known.get("history", []),
        traceback=known.get("traceback", ""),
    )


def remember(options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The options of a message that goes on, with what it remembers from now on."""
    known = dict(options.get(OPTION) or {})
    for name in _MEMORY:
        value = getattr(progress, name)
        if value:
            known[name] = value
        else:
            known.pop(name, None)
    rest = {name: value for name, value in options.items() if name != OPTION}
    return {**rest, OPTION: known} if known else rest


def forget(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the original push: what a failed job is retried with."""
    return remember({name: options[name] for name in options if name not in _STOCK_MEMORY}, Progress())


def priority(message: Any, actor: Actor[..., Any] | None) -> int:
    """0 to 5: what the push said, else the definition; 0 for a stock actor."""
    said = message.options.get(OPTION)
    if said and "priority" in said:
        pushed: int = said["priority"]
        return pushed
    declared: int = actor.options.get("gello_priority", 0) if actor else 0
    return declared


def job(message: Any, limit: int | None, attempt: int, priority: int = 0) -> Job:
    """A message as the job that a person sees."""
    return Job(
        id=message.message_id,
        name=message.actor_name,
        queue=message.queue_name,
        payload=message.kwargs,
        priority=priority,
        attempt=attempt,
        max_attempts=limit,
        created_at=datetime.fromtimestamp(message.message_timestamp / 1000, UTC),
    )


# As Dramatiq's own encoder does, which makes one anew for each message.
_write = json.JSONEncoder(separators=(",", ":")).encode
_TIMES = ("timeout", "retry_after", "retry_until")
_NUMBERS = ("priority", "max_attempts", "attempts", "releases", "unknown_since")
_MEMORY = ("attempts", "releases", "unknown_since", "history", "traceback")
_STOCK_MEMORY = frozenset({"retries", "traceback", "requeue_timestamp", "eta", "redis_message_id"})


def _written(said: Options) -> dict[str, Any]:
    written: dict[str, Any] = {name: getattr(said, name) for name in ("priority", "max_attempts")}
    for name in _TIMES:
        length = getattr(said, name)
        written[name] = None if length is None else millis(length)
    return {name: value for name, value in written.items() if value is not None}
