"""What a payload's schema needs so that nothing changes on the way through JSON, and what can't make that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic_core import CoreConfig

Node = Any
"""A part of pydantic's core schema: dicts and lists."""

ON_THE_WAY = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings")
"""How values are written, whatever a model inside the payload says for itself."""

_HOLDERS = frozenset({"model", "dataclass", "typed-dict"})
_EXTRAS = frozenset({"extra_behavior", "extra_fields_behavior"})
_ASIDE = frozenset({"computed_fields", "definitions", "metadata", "python_schema", "serialization"})
_BY_DATA = "which JSON can't hold; push its data or a reference to it"
_LIVE = {
    "is-instance": f"is an object of a class without a schema, {_BY_DATA}",
    "is-subclass": f"is a class, {_BY_DATA}",
    "callable": f"is a callable, {_BY_DATA}",
    "generator": "is an Iterable, which can be read only once; make it a list",
}
_NO_KEYS = frozenset({"tuple", "list", "set", "frozenset", "dict", "nullable", "none", *_HOLDERS})


def prepared(node: Node) -> Node:
    """The schema with `ON_THE_WAY` in all of its models, and none that forbids the fields of a newer producer."""
    if isinstance(node, Mapping):
        copy: dict[str, Any] = {
            key: "ignore" if key in _EXTRAS and value == "forbid" else prepared(value) for key, value in node.items()
        }
        if node.get("type") in _HOLDERS:
            copy["config"] = {**(copy.get("config") or {}), **ON_THE_WAY}
        return copy
    return [prepared(part) for part in node] if isinstance(node, list) else node


def needs_text(node: Node) -> bool:
    """Whether a payload must be loaded from JSON text.

    Only there pydantic reads bytes from base64 and strict types from what JSON has, and tells the members of a union
    apart by how they are written.
    """
    return _any(node, lambda part: part.get("type") in ("bytes", "union", "tagged-union") or part.get("strict") is True)


def holds_floats(node: Node) -> bool:
    """Whether a payload may hold an infinity or a nan."""
    return _any(node, lambda part: part.get("type") in ("float", "any"))


def _any(node: Node, wanted: Callable[[Mapping[str, Any]], bool]) -> bool:
    if isinstance(node, Mapping):
        return wanted(node) or any(_any(part, wanted) for part in node.values())
    return isinstance(node, list | tuple) and any(_any(part, wanted) for part in node)


def obstacles(schema: Node) -> Iterator[tuple[str, str]]:
    """The fields, at any depth, whose values wouldn't arrive as they were pushed, each with the reason and the fix."""
    known = {each["ref"]: each for each in schema.get("definitions", ())}
    yield from _Walk(known).over(schema, "", by_name=False)


class _Walk:
    """One walk over a core schema; a model that holds itself is entered once."""

    def __init__(self, known: Mapping[str, Node]) -> None:
        self._known = known
        self._seen: set[str] = set()

    def over(self, node: Node, path: str, *, by_name: bool, written: bool = False) -> Iterator[tuple[str, str]]:
        if isinstance(node, list | tuple):
            for part in node:
                yield from self.over(part, path, by_name=by_name, written=written)
            return
        if not isinstance(node, Mapping):
            return
        if node.get("type") == "definition-ref":
            if node["schema_ref"] not in self._seen:
                self._seen.add(node["schema_ref"])
                yield from self.over(self._known[node["schema_ref"]], path, by_name=False)
            return
        if _is_secret(node):
            yield path, "is a secret and would arrive as asterisks; push a reference, or a str if it may be stored"
            return
        if node.get("type") == "dict" and self._kind(node.get("keys_schema")) in _NO_KEYS:
            yield path, "is a dict whose keys can't be JSON's, which are texts; make it a list of pairs"
        if node.get("type") == "literal" and any(_is_plain_enum(value) for value in node["expected"]):
            yield path, "is a Literal of an Enum that JSON doesn't know; make it a StrEnum or an IntEnum"
        if node.get("type") == "literal" and any(isinstance(value, bytes) for value in node["expected"]):
            yield path, "is a Literal of bytes, which JSON can't hold; make it a Literal of texts"
        if node.get("type") == "enum" and any(map(_never_read, node["members"])):
            yield path, "is an Enum whose values JSON can't hold; make them texts or whole numbers"
        # A type that says how it is written may well read that again.
        written = "serialization" in node or (written and node.get("type") not in ("list", "dict", *_HOLDERS))
        if node.get("type") in _LIVE and not written:
            yield path, _LIVE[node["type"]]
        if node.get("type") in _HOLDERS:
            by_name = bool((node.get("config") or {}).get("validate_by_name"))
        for key, part in node.items():
            if key == "fields":
                yield from self._fields(part, path, by_name)
            elif key not in _ASIDE:
                yield from self.over(part, path, by_name=by_name, written=written)

    def _fields(self, fields: Node, path: str, by_name: bool) -> Iterator[tuple[str, str]]:
        named = (
            fields.items()
            if isinstance(fields, Mapping)
            else ((f["name"], f) for f in fields if isinstance(f, Mapping))
        )
        for name, field in named:
            here = f"{path}.{name}".lstrip(".")
            if reason := _lost(name, field, by_name):
                yield here, reason
            yield from self.over(field["schema"], here, by_name=by_name)

    def _kind(self, node: Node) -> str | None:
        """The type of a dict's keys, under the validators around it."""
        while isinstance(node, Mapping):
            if node["type"] == "definition-ref":
                node = self._known[node["schema_ref"]]
            elif node["type"].startswith("function-") and "schema" in node:
                node = node["schema"]
            else:
                return str(node["type"])
        return None


def _is_secret(node: Mapping[str, Any]) -> bool:
    how = node.get("serialization") or {}
    return getattr(how.get("function"), "__name__", "").startswith("_serialize_secret")


def _is_plain_enum(value: Any) -> bool:
    return isinstance(value, Enum) and not isinstance(value, str | int)


def _never_read(member: Enum) -> bool:
    """Whether a member's value isn't JSON's, and its class has no `_missing_` that might read what is written."""
    own = type(member)._missing_.__func__ is not Enum._missing_.__func__  # type: ignore[attr-defined]  # a classmethod
    return not own and not isinstance(member.value, str | int | float | None)


def _lost(name: str, field: Mapping[str, Any], by_name: bool) -> str | None:
    """Why a field itself doesn't arrive, whatever its type."""
    if field.get("serialization_exclude"):
        return "has exclude=True and would never arrive; leave that out"
    written, read = field.get("serialization_alias", name), field.get("validation_alias", name)
    # One alias, or the paths that are tried; a path is a list of keys.
    names = {read} if isinstance(read, str) else {path[0] for path in read if isinstance(path, list) and len(path) == 1}
    if by_name:
        names.add(name)
    if written in names:
        return None
    return (
        f"is written as {written!r} and read as {' or '.join(map(repr, sorted(names)))}; give it one alias=… for both"
    )
