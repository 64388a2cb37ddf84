"""`gello jobs`: which jobs there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .loading import opened
from .output import console, emit, table
from .parameters import App, Json, Modules

if TYPE_CHECKING:
    from ..backoff import Backoff
    from ..definition import Definition


def jobs(modules: Modules = None, app: App = None, json: Json = False) -> None:
    """List the jobs with their limits and payloads."""
    with opened(app, modules or [], needs_jobs=True) as gello:
        described = [_described(definition, gello.broker) for definition in gello.jobs.list()]
    if json:
        emit([{**job, "backoff": _numbers(job["backoff"])} for job in described])
        return
    table(
        ["Job", "Queue", "Priority", "Attempts", "Timeout", "Backoff", "Payload"],
        [_row(job) for job in described],
        right=["Priority", "Attempts", "Timeout"],
    )


def _described(definition: Definition, broker: Any) -> dict[str, Any]:
    """A job with its limits, as they stand after every override that isn't a worker's."""
    actor = broker.actors[definition.name]
    limits = actor.limits
    return {
        "name": definition.name,
        "queue": actor.queue_name,
        "priority": actor.resolved.priority,
        "max_attempts": limits.max_attempts,
        "timeout": limits.timeout,
        "backoff": limits.backoff,
        "async": definition.is_async,
        "source": f"{definition.source.__module__}.{definition.source.__qualname__}",
        "payload": definition.schema.json_schema(),
    }


def _row(job: dict[str, Any]) -> list[str]:
    from ..durations import spell

    attempts = job["max_attempts"]
    fields = ("\n" if console().is_terminal else ", ").join(fields_of(job["payload"]))
    limits = [str(job["priority"]), "no end" if attempts is None else str(attempts), spell(job["timeout"])]
    return [job["name"], job["queue"], *limits, spelled(job["backoff"]), fields or "—"]


def fields_of(schema: dict[str, Any]) -> Iterable[str]:
    """A payload's fields with their types, as in "user_id: integer"; an optional one has a question mark."""
    from .words import JSON_TYPES, json_types

    for name, field in schema.get("properties", {}).items():
        types = json_types(field, schema.get("$defs", {}))
        said = field.get("format") or ("any" if types == JSON_TYPES else " or ".join(sorted(types)))
        yield f"{name}{'' if name in schema.get('required', ()) else '?'}: {said}"


def _numbers(backoff: Backoff) -> dict[str, Any]:
    """A backoff for programs: its kind, and its waits in seconds where it has any of its own."""
    from ..backoff import Constant, Exponential, Steps

    own = isinstance(backoff, Constant | Steps | Exponential)
    return {"kind": type(backoff).__name__.lower(), **vars(backoff)} if own else {"kind": "own"}


def spelled(backoff: Backoff) -> str:
    """A backoff in a few words."""
    from ..backoff import Constant, Exponential, Steps
    from ..durations import spell

    match backoff:
        case Constant(wait):
            return spell(wait)
        case Steps(waits):
            return ", ".join(spell(wait) for wait in waits)
        case Exponential(first, factor, most, _):
            return f"{spell(first)} × {factor:g}ⁿ ≤ {spell(most)}"
        case _:
            return "its own"
