"""What a payload must look like: a function's signature or a class's fields, as a pydantic schema."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, NotRequired, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator, to_json
from typing_extensions import TypedDict

from .arrival import certain, changes
from .errors import InvalidDefinition, InvalidPayload
from .travel import ON_THE_WAY, holds_floats, needs_text, obstacles, prepared

CONFIG = ConfigDict(
    extra="forbid",
    validate_by_name=True,
    validate_by_alias=True,
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="strings",
    arbitrary_types_allowed=True,  # pydantic's refusal names no field; travel.obstacles gives ours
)
"""The pydantic settings of every payload: strict about extra fields, and nothing changes on the way through JSON."""

LATER = frozenset({"class-not-fully-defined", "undefined-annotation"})
"""What pydantic says of a type that is defined further down in its module."""


ANNOTATE = "annotate the field with the one type that it has, or push what JSON can hold"


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
            return self._build()
        except NameError as error:
            raise InvalidDefinition(
                f"{self.name}: {_first_line(error)}; define a payload's types in the module, not inside a function."
            ) from error

    def check(self) -> None:
        """Build the schema where the job is declared, unless a type is defined later.

        Raises:
          InvalidDefinition: A field has a type that can't travel.
        """
        with suppress(NameError):
            self.__dict__["adapter"] = self._build()

    def _build(self) -> TypeAdapter[Any]:
        try:
            annotation = self._annotation()
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                annotation.model_rebuild()  # names what is not defined yet
            adapter = TypeAdapter(annotation)
            found = list(obstacles(adapter.core_schema))
        except PydanticUndefinedAnnotation:
            raise
        except PydanticUserError as error:
            if error.code in LATER:
                raise NameError(error.message) from error
            raise InvalidDefinition(unfit(self.name, error)) from error
        for field, reason in found:
            raise InvalidDefinition(f"{self.name}: field {field!r} {reason}.")
        return adapter

    @cached_property
    def fields(self) -> Sequence[str]:
        """The names under which fields travel, in order."""
        return [*self.json_schema().get("properties", {})]

    @cached_property
    def _write(self) -> Callable[..., Any]:
        # Not the adapter's own: models in the payload would follow their own settings, and lose bytes and infinities.
        schema = self.adapter.core_schema
        serializer = SchemaSerializer(prepared(schema), ON_THE_WAY, _use_prebuilt=False)
        if not holds_floats(schema):
            return partial(serializer.to_python, mode="json")
        # Only as text infinities are written so that every JSON reader takes them.
        return lambda *args, **how: json.loads(serializer.to_json(*args, **how))

    @cached_property
    def _load(self) -> Callable[[Mapping[str, Any]], Any]:
        schema = self.adapter.core_schema
        validator = SchemaValidator(prepared(schema), ON_THE_WAY, _use_prebuilt=False)
        if needs_text(schema):
            return lambda data: validator.validate_json(json.dumps(data))
        return validator.validate_python

    @cached_property
    def _certain(self) -> bool:
        return certain(self.adapter.core_schema)

    def json_schema(self) -> dict[str, Any]:
        """The payload's JSON Schema."""
        return self.adapter.json_schema(mode="validation")

    def dump(self, values: Any) -> dict[str, Any]:
        """Check a payload and turn it into JSON-safe data.

        Raises:
          InvalidPayload: A field is missing, unknown, of the wrong type, or wouldn't arrive as it is.
        """
        try:
            checked = self.adapter.validate_python(values) if isinstance(values, Mapping) else values
            dumped: dict[str, Any] = self._write(checked, by_alias=True, round_trip=True, warnings="error")
        except ValidationError as error:
            raise InvalidPayload(f"{self.name}: {explain(error)}") from error
        except (PydanticSerializationError, ValueError) as error:
            raise InvalidPayload(f"{self.name}: its payload can't be written as JSON: {error}") from error
        if not self._certain:
            self._arrive(checked, dumped)
        elif checked is values:
            self.load(dumped)  # an instance was checked when it was made, and may have been changed since
        return dumped

    def _arrive(self, checked: Any, dumped: Mapping[str, Any]) -> None:
        """Load it as a worker will, and refuse what JSON would change."""
        try:
            arrived = self._load(json.loads(json.dumps(dumped, allow_nan=False)))
        except ValidationError as error:
            reason = explain(error)
            raise InvalidPayload(
                f"{self.name}: a worker couldn't load it: {reason.rstrip('.')}; {ANNOTATE}."
            ) from error
        except ValueError as error:
            raise InvalidPayload(f"{self.name}: its payload can't be written as JSON: {error}") from error
        for field, change in changes(checked, arrived):
            raise InvalidPayload(f"{self.name}: field {field!r} {change}; {ANNOTATE}.")

    def load(self, data: Mapping[str, Any]) -> Any:
        """Load a payload that has travelled; fields that the job doesn't know are ignored.

        Raises:
          InvalidPayload: It isn't what the job takes.
        """
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
        reason = {"missing": "is missing", "extra_forbidden": "is unknown"}.get(
            detail["type"], f": {detail['msg'].rstrip('.')}"
        )
        reasons.append(f"field {where!r} {reason}".replace(" :", ":") if where else detail["msg"])
    return "; ".join(reasons) + "."


def unfit(name: str, error: PydanticUserError) -> str:
    """Pydantic's refusal of a type, in one line."""
    return f"{name}: its payload has no schema: {_first_line(error)}"


def jsonable(value: Any) -> Any:
    """Any value as JSON-safe data, for showing: what can't be written is described."""
    return json.loads(to_json(value, fallback=repr, bytes_mode="base64", inf_nan_mode="strings"))


def _first_line(error: Exception) -> str:
    """What an error of pydantic's says before it points to its documentation."""
    return str(error).partition("\n")[0]
