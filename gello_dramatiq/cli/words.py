"""The payload of a push, from the words of a command line: `user_id=7 email=a@b.c`, `'{"user_id": 7}'`, or `-`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ..definition import Definition, PendingJob

JSON_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})


def pending(definition: Definition, words: Sequence[str]) -> PendingJob:
    """A pending job, its payload checked against the job's schema.

    Raises:
      InvalidPayload: The words are no payload, or not one of this job.
    """
    from pydantic import ValidationError

    from ..definition import PendingJob
    from ..errors import InvalidPayload
    from ..payload import explain

    name, schema = definition.name, definition.schema
    if len(words) == 1 and (words[0] == "-" or words[0].lstrip().startswith("{")):
        payload = _object(sys.stdin.read() if words[0] == "-" else words[0], name)
    else:
        payload = _fields(words, schema.json_schema(), name)
    try:
        # As JSON, not as Python values: dates, bytes and strict models are written as they travel.
        loaded = schema.adapter.validate_json(json.dumps(payload))
    except ValidationError as error:
        takes = ", ".join(schema.fields) or "nothing"
        raise InvalidPayload(f"{name}: {explain(error).rstrip('.')}; it takes: {takes}.") from error
    return PendingJob(definition, schema.dump(loaded))


def _object(text: str, name: str) -> dict[str, Any]:
    from ..errors import InvalidPayload

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} can't be written as JSON")

    try:
        payload = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"{name}: the payload is no JSON ({error}); write it as {_EXAMPLE}.") from error
    if not isinstance(payload, dict):
        raise InvalidPayload(
            f"{name}: the payload is a JSON {type(payload).__name__}, not an object; write {_EXAMPLE}."
        )
    return payload


_EXAMPLE = """'{"field": value}', or as field=value"""


def _fields(words: Sequence[str], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    from ..errors import InvalidPayload

    payload: dict[str, Any] = {}
    for word in words:
        field, equals, text = word.partition("=")
        if not equals or not field:
            raise InvalidPayload(f"{name}: {word!r} is no field; write {_EXAMPLE}.")
        if field in payload:
            raise InvalidPayload(f"{name}: field {field!r} is given twice.")
        known = schema.get("properties", {}).get(field, {})
        payload[field] = _value(text, json_types(known, schema.get("$defs", {})))
    return payload


def _value(text: str, types: frozenset[str]) -> Any:
    """A word as the field takes it: text stays text where the field takes text, all else is read as JSON."""
    if text == "null" and "null" in types:
        return None
    if "string" in types and types != JSON_TYPES:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def json_types(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a field takes, by its JSON Schema."""
    if "$ref" in schema:
        return json_types(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return frozenset().union(*(json_types(each, definitions) for each in schema[several]))
    said = schema.get("type", JSON_TYPES)
    return frozenset({said} if isinstance(said, str) else said)
