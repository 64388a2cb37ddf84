"""What a payload must look like: a function's signature or a class's fields, as a pydantic schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from .errors import InvalidDefinition, InvalidPayload

CONFIG = ConfigDict(
    extra="forbid",
    validate_by_name=True,
    validate_by_alias=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="strings",
)
"""The pydantic settings of every payload: strict about extra fields, and nothing changes on the way through JSON."""


class Schema:
    """How one job's payload is checked, dumped to JSON-safe data, and loaded again.

    It is built at first use: a type that a signature names may be defined later in its module.

    Parameters:
      name: The job's name, for errors.
      annotation: Makes the type that the payload has.
    """

    def __init__(self, name: str, annotation: Callable[[], Any]) -> None:
        self.name = name
        self._annotation = annotation

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The pydantic adapter.

        Raises:
          InvalidDefinition: A field has a type that can't travel.
        """
        try:
            annotation = self._annotation()
            adapter = TypeAdapter(annotation)
            adapter.core_schema  # noqa: B018 (a deferred schema is built here, where its error can be explained)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, NameError) as error:
            raise InvalidDefinition(f"{self.name}: its payload has no schema: {error}") from error
        for field, secret in _secrets(annotation):
            raise InvalidDefinition(
                f"{self.name}: field {field!r} is a {secret}, which would arrive as asterisks; "
                "pass a reference to the secret, or a plain str if it may be stored."
            )
        return adapter

    @cached_property
    def fields(self) -> Sequence[str]:
        """The names under which fields travel, in order."""
        return [*self.json_schema().get("properties", {})]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.fields) | frozenset(_python_names(self._annotation()))

    @cached_property
    def _load(self) -> Callable[[Mapping[str, Any]], Any]:
        validator = self.adapter.validator
        if _needs_json(self.adapter.core_schema):
            return lambda data: validator.validate_json(json.dumps(data))
        return validator.validate_python

    def json_schema(self) -> dict[str, Any]:
        """The payload's JSON Schema."""
        return self.adapter.json_schema(mode="validation")

    def dump(self, values: Any) -> dict[str, Any]:
        """Check a payload and turn it into JSON-safe data.

        Raises:
          InvalidPayload: A field is missing, unknown, of the wrong type, or can't be written as JSON.
        """
        try:
            checked = self.adapter.validate_python(values) if isinstance(values, Mapping) else values
            dumped: dict[str, Any] = self.adapter.dump_python(checked, mode="json", by_alias=True, warnings="error")
            return dumped
        except ValidationError as error:
            raise InvalidPayload(f"{self.name}: {explain(error)}") from error
        except (PydanticSerializationError, ValueError) as error:
            raise InvalidPayload(f"{self.name}: its payload can't be written as JSON: {error}") from error

    def load(self, data: Mapping[str, Any]) -> Any:
        """Load a payload that has travelled; fields that the job doesn't know are ignored.

        Raises:
          InvalidPayload: It isn't what the job takes.
        """
        if not data.keys() <= self._known:
            data = {field: value for field, value in data.items() if field in self._known}
        try:
            return self._load(data)
        except ValidationError as error:
            raise InvalidPayload(f"{self.name}: {explain(error)}") from error

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give positional arguments of a foreign producer their names.

        Raises:
          InvalidPayload: There are more than the job has fields, or one is given twice.
        """
        if len(args) > len(self.fields):
            raise InvalidPayload(f"{self.name}: takes {len(self.fields)} arguments, got {len(args)}.")
        named = dict(zip(self.fields, args, strict=False))
        for twice in named.keys() & kwargs.keys():
            raise InvalidPayload(f"{self.name}: field {twice!r} is given twice, by position and by name.")
        return {**named, **kwargs}


def function_type(function: Callable[..., Any], name: str) -> Any:
    """The type of a function's payload: a TypedDict of its parameters; those with a default may be left out."""
    hints = get_type_hints(function, include_extras=True)
    fields = {}
    for parameter in parameters(function, name):
        hint = hints.get(parameter.name, Any)
        optional = parameter.default is not parameter.empty
        fields[parameter.name] = NotRequired[hint] if optional else hint
    make: Any = TypedDict  # so that no checker takes it for a declaration; pydantic alone reads it
    payload = make(name, fields)
    payload.__pydantic_config__ = CONFIG
    return payload


def parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    """A function's parameters.

    Raises:
      InvalidDefinition: One of them can't be named in a payload.
    """
    found = list(inspect.signature(function).parameters.values())
    for parameter in found:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise InvalidDefinition(
                f"{name}: parameter {str(parameter)!r} has no name in a payload; "
                "a job takes plain parameters, each with its own name."
            )
    return found


def explain(error: ValidationError) -> str:
    """A validation error in one line, naming each field and what is wrong with it; no value is shown."""
    reasons = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"])
        reason = {"missing": "is missing", "extra_forbidden": "is unknown"}.get(detail["type"], f": {detail['msg']}")
        reasons.append(f"field {where!r} {reason}".replace(" :", ":") if where else detail["msg"])
    return "; ".join(reasons) + "."


def jsonable(value: Any) -> Any:
    """Any value as JSON-safe data, for showing: what can't be written is described."""
    return to_jsonable_python(value, fallback=repr, bytes_mode="base64", inf_nan_mode="strings")


def _needs_json(schema: Any) -> bool:
    """Whether a schema must be loaded as JSON text: it holds bytes, base64 there, or is strict, and a date is text."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "bytes" or schema.get("strict") is True:
            return True
        return any(_needs_json(part) for part in schema.values())
    return isinstance(schema, list | tuple) and any(_needs_json(part) for part in schema)


def _python_names(annotation: Any) -> Iterator[str]:
    yield from annotation.__annotations__ if not _is_model(annotation) else annotation.model_fields


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _secrets(annotation: Any, path: str = "", seen: frozenset[Any] = frozenset()) -> Iterator[tuple[str, str]]:
    """The fields, at any depth, whose type hides its value when it is dumped."""
    if isinstance(annotation, type) and issubclass(annotation, SecretStr | SecretBytes):
        yield path, annotation.__name__
        return
    origin = get_origin(annotation)
    if getattr(origin, "__name__", "") == "Secret":
        yield path, "Secret"
    elif origin is Annotated:
        yield from _secrets(get_args(annotation)[0], path, seen)
    elif origin is not None:
        for part in get_args(annotation):
            yield from _secrets(part, path, seen)
    elif annotation not in seen:
        for field, hint in _hints(annotation):
            yield from _secrets(hint, f"{path}.{field}".lstrip("."), seen | {annotation})


def _hints(annotation: Any) -> Iterator[tuple[str, Any]]:
    if _is_model(annotation):
        yield from ((name, field.annotation) for name, field in annotation.model_fields.items())
    elif isinstance(annotation, type) and "__annotations__" in vars(annotation):
        yield from get_type_hints(annotation).items()
