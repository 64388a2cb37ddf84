"""Whether a payload arrives as it was pushed: which schemas promise it, and the comparison for all others."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Set
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_PLAIN = frozenset({
    "bool", "bytes", "date", "decimal", "float", "int", "none", "str", "timedelta", "url", "uuid",
    "nullable", "default", "list", "set", "frozenset", "tuple", "typed-dict", "typed-dict-field", "model-field",
})  # fmt: skip
"""The parts of a schema whose values always arrive as they are, once validated."""

_EXTENDED = (date, time, timedelta, UUID, float, bytes)
"""Where pydantic keeps a subclass, such as pendulum's, freezegun's or NumPy's: it arrives as the type of the field."""


def certain(schema: Any) -> bool:
    """Whether every payload of this schema arrives as it is; a job class's own fields are looked into."""
    node = schema
    while node["type"] in ("definitions", "model"):
        if _says_more(node) or node.get("post_init"):
            return False
        node = node["schema"]
    if node["type"] in ("typed-dict", "model-fields"):
        return not _says_more(node) and all(map(_plain, node["fields"].values()))
    return False


def _plain(node: Any) -> bool:
    if _says_more(node) and node["type"] != "url":
        return False
    if node["type"] == "literal":
        return all(type(value) is str or value is None for value in node["expected"])
    if node["type"] == "dict":
        return node.get("keys_schema", {}).get("type") == "str" and _plain(node.get("values_schema", {"type": "any"}))
    return node["type"] in _PLAIN and all(map(_plain, _inside(node)))


def _says_more(node: Mapping[str, Any]) -> bool:
    """Whether it has a serializer of its own, leaves fields out, or takes fields without a type."""
    extra = node.get("extra_behavior") or (node.get("config") or {}).get("extra_fields_behavior")
    return "serialization" in node or "serialization_exclude_if" in node or extra == "allow"


def _inside(node: Mapping[str, Any]) -> Iterator[Any]:
    if node["type"] in ("list", "set", "frozenset"):
        yield node.get("items_schema", {"type": "any"})
    elif node["type"] == "tuple":
        yield from node["items_schema"]
    elif node["type"] == "typed-dict":
        yield from node["fields"].values()
    elif "schema" in node:
        yield node["schema"]


def changes(pushed: Any, arrived: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The fields, at any depth, that arrive as something else, each with what would happen to it."""
    if not _same_type(pushed, arrived):
        yield path, f"is {_said(pushed)} and would arrive as {_said(arrived)}"
        return
    parts, there = _parts(pushed), _parts(arrived)
    if parts is None or there is None:
        if not _equal(pushed, arrived):
            yield path, "would arrive with another value"
        return
    kinds = {key: type(key) for key in there}
    if len(parts) != len(there) or any(kinds.get(key) is not type(key) for key in parts):
        yield path, "would arrive with other keys or items"
        return
    for key, part in parts.items():
        yield from changes(part, there[key], path if isinstance(pushed, Set) else f"{path}.{key}".lstrip("."))


def _same_type(pushed: Any, arrived: Any) -> bool:
    if type(pushed) is type(arrived):
        return True
    return isinstance(pushed, _EXTENDED) and not isinstance(pushed, Enum) and isinstance(pushed, type(arrived))


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """What a value is made of, by key; None if it is one thing."""
    if isinstance(value, BaseModel):
        fields = {name: value.__dict__.get(name) for name in type(value).model_fields}
        return {**fields, **(value.model_extra or {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple | deque):
        return dict(enumerate(value))
    return {each: each for each in value} if isinstance(value, Set) else None


def _equal(pushed: Any, arrived: Any) -> bool:
    if isinstance(pushed, datetime | time):
        # By wall clock and offset: in an hour that comes twice, == is false between two time zones.
        return pushed.utcoffset() == arrived.utcoffset() and bool(
            pushed.replace(tzinfo=None) == arrived.replace(tzinfo=None)
            and (pushed.tzinfo is None) == (arrived.tzinfo is None)
        )
    return bool(pushed == arrived or (pushed != pushed and arrived != arrived))


def _said(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
