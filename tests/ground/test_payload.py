from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, Generic, Literal, NewType, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    Json,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    model_validator,
)
from typing_extensions import TypedDict

from gello_dramatiq import Queueable, queueable
from gello_dramatiq.definition import PendingJob
from gello_dramatiq.errors import InvalidDefinition, InvalidPayload
from gello_dramatiq.payload import jsonable
from tests.ground.types import CONFUSABLE, TYPES, Address, Aliased, Colour, Dated, Office, Point

Carrier = tuple[Any, Callable[[Any], PendingJob], Callable[[Any], Any]]


def function_job(annotation: Any) -> Carrier:
    def carry(value: Any) -> None: ...

    carry.__annotations__ = {"value": annotation}
    job = queueable(carry)
    return job.definition, lambda value: job.job(value=value), lambda payload: payload["value"]


def class_job(annotation: Any) -> Carrier:
    body = {"__annotations__": {"value": annotation}, "__module__": __name__, "handle": lambda self: None}
    job: Any = types.new_class("Carry", (Queueable,), {}, lambda namespace: namespace.update(body))
    return job.definition, lambda value: job(value=value).job(), lambda payload: payload.value


def arrive(definition: Any, pending: PendingJob) -> Any:
    """The payload as a worker loads it, after the way through JSON."""
    return definition.schema.load(json.loads(json.dumps(pending.payload, allow_nan=False)))


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types at every depth, and nan is nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, datetime):
        return str(one) == str(other)  # == is false between zones in an hour that is skipped or comes twice
    return bool(one == other or (one != one and other != other))


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize(
    ("annotation", "values"), [pytest.param(kind, values, id=name) for name, kind, values in TYPES]
)
def test_a_value_of_every_allowed_type_arrives_as_it_was_pushed(
    make: Callable[[Any], Carrier], annotation: Any, values: st.SearchStrategy[Any]
) -> None:
    definition, pend, field = make(annotation)

    @settings(max_examples=25)
    @given(values)
    def check(value: Any) -> None:
        assert same(field(arrive(definition, pend(value))), value)

    check()


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize(
    ("annotation", "values"), [pytest.param(kind, values, id=name) for name, kind, values in CONFUSABLE]
)
def test_a_value_that_json_may_change_arrives_as_it_was_pushed_or_is_refused_at_the_push(
    make: Callable[[Any], Carrier], annotation: Any, values: st.SearchStrategy[Any]
) -> None:
    definition, pend, field = make(annotation)

    @settings(max_examples=60)
    @given(values)
    def check(value: Any) -> None:
        try:
            pending = pend(value)
        except InvalidPayload:
            return
        assert same(field(arrive(definition, pending)), value)

    check()


CHANGED = [
    ("date in any", Any, date(2026, 1, 1), "field 'value' is datetime.date and would arrive as str; annotate the f"),
    ("deep", Any, {"a": [1, {2}]}, "field 'value.a.1' is set and would arrive as list"),
    ("tuple in any", Any, (1,), "field 'value' is tuple and would arrive as list"),
    ("nan in any", object, math.nan, "field 'value' is float and would arrive as str"),
    ("int keys in any", Any, {1: 2}, "field 'value' would arrive with other keys or items"),
    ("secret in any", Any, SecretStr("hunter2"), "field 'value' is pydantic.*SecretStr and would arrive as str"),
    ("written date", date | str, "2026-01-01", "field 'value' is str and would arrive as datetime.date"),
    ("model of a subclass", Address, Office(street="a", floor=1), "'value' is .*Office and would arrive as .*Address"),
    (
        "clock without offset",
        time,
        time(12, tzinfo=ZoneInfo("Asia/Tokyo")),
        "field 'value' would arrive with another v",
    ),
]


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize(("annotation", "value", "reason"), [pytest.param(*case, id=name) for name, *case in CHANGED])
def test_a_value_that_would_arrive_changed_is_refused_with_job_field_and_fix(
    make: Callable[[Any], Carrier], annotation: Any, value: Any, reason: str
) -> None:
    _, pend, _ = make(annotation)
    with pytest.raises(InvalidPayload, match=rf"(?i)carry: .*{reason}"):
        pend(value)


@pytest.mark.parametrize("make", [function_job, class_job])
@given(
    st.dictionaries(st.text(min_size=1).filter(lambda name: name not in ("value", "self")), st.integers(), min_size=1)
)
def test_fields_that_a_job_doesnt_know_are_refused_at_the_push_and_ignored_by_the_worker(
    make: Callable[[Any], Carrier], extra: dict[str, int]
) -> None:
    definition, _, field = make(int)
    with pytest.raises(InvalidPayload, match="is unknown"):
        definition.schema.dump({"value": 1, **extra})
    assert field(definition.schema.load({"value": 1, **extra})) == 1


@pytest.mark.parametrize("make", [function_job, class_job])
def test_json_text_in_a_field_arrives_as_what_it_says(make: Callable[[Any], Carrier]) -> None:
    definition, pend, field = make(Json[list[int]])
    assert field(arrive(definition, pend("[1, 2]"))) == [1, 2]


class Photo(BaseModel):
    model_config = ConfigDict(ser_json_bytes="utf8", ser_json_inf_nan="null")

    raw: bytes
    weight: float


@dataclass
class Box:
    photo: Photo
    weights: list[float]


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 1.5])
def test_bytes_and_infinities_inside_models_arrive_whatever_the_models_say(
    make: Callable[[Any], Carrier], number: float
) -> None:
    definition, pend, field = make(dict[str, list[Box]])
    boxes = field(arrive(definition, pend({"a": [Box(Photo(raw=b"\x80\xff", weight=number), [number])]})))
    box = boxes["a"][0]
    assert box.photo.raw == b"\x80\xff"
    assert same([box.photo.weight, *box.weights], [number, number])


def test_bytes_travel_as_base64() -> None:
    _, pend, _ = function_job(bytes)
    assert pend(b"\x00\xff").payload == {"value": "AP8="}


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    side: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


@pytest.mark.parametrize("make", [function_job, class_job])
def test_a_computed_field_stays_here_and_is_computed_again_there(make: Callable[[Any], Carrier]) -> None:
    definition, pend, field = make(Shape)
    pending = pend(Shape(side=3))
    assert pending.payload == {"value": {"side": 3}}
    assert field(arrive(definition, pending)).area == 9


# ------------------------------------------------------------------------------------------------- at the push


@queueable
def send(user_id: int, email: EmailStr, name: str = "nobody") -> None: ...


class Report(Queueable):
    report_id: int
    format: Literal["pdf", "csv"] = "pdf"

    def handle(self) -> None: ...


PAYLOADS = [send.definition, Report.definition]


@pytest.mark.parametrize(
    ("push", "reason"),
    [
        pytest.param(lambda: send.job(email="a@b.c"), "send: field 'user_id' is missing.", id="missing"),
        pytest.param(lambda: send.job(7), "send: field 'email' is missing.", id="missing by position"),
        pytest.param(lambda: send.job(7, "a@b.c", nam="x"), "send: field 'nam' is unknown.", id="unknown"),
        pytest.param(
            lambda: send.job("x", "a@b.c"), "send: field 'user_id': Input should be a valid integer", id="type"
        ),
        pytest.param(lambda: send.job(7, "nobody"), "send: field 'email': value is not a valid email", id="email"),
        pytest.param(lambda: send.job(1, "a@b.c", "x", 2), "send: takes 3 arguments, got 4.", id="too many"),
        pytest.param(lambda: send.job(7, "a@b.c", user_id=8), "send: field 'user_id' is given twice", id="twice"),
        pytest.param(lambda: Report(), "Report: field 'report_id' is missing.", id="class missing"),
        pytest.param(lambda: Report(report_id=1, x=2), "Report: field 'x' is unknown.", id="class unknown"),
        pytest.param(
            lambda: Report(report_id="x"), "Report: field 'report_id': Input should be a valid", id="class type"
        ),
        pytest.param(
            lambda: Report(report_id="x", format="doc"),
            "Report: field 'report_id': Input should be .*; field 'format': Input should be 'pdf' or 'csv'",
            id="every field that is wrong is named",
        ),
    ],
)
def test_a_wrong_payload_is_refused_at_the_caller_with_job_field_and_reason(
    push: Callable[[], Any], reason: str
) -> None:
    with pytest.raises(InvalidPayload, match=reason):
        push()


def test_an_error_shows_no_value_of_the_payload() -> None:
    for push in (lambda: send.job("hunter2", "hunter2"), lambda: Report(report_id="hunter2")):  # type: ignore[arg-type]
        with pytest.raises(InvalidPayload) as raised:
            push()
        assert "hunter2" not in str(raised.value)


def test_a_value_that_json_cant_hold_is_refused_at_the_caller() -> None:
    _, pend, _ = function_job(Any)
    for value in (object(), "\ud800", {object(): 1}):
        with pytest.raises(InvalidPayload, match="carry: its payload can't be written as JSON"):
            pend(value)


def test_a_payload_that_was_changed_after_it_was_checked_is_checked_as_it_is_dumped() -> None:
    report = Report(report_id=1)
    report.report_id = "seven"  # type: ignore[assignment]
    with pytest.raises(InvalidPayload, match="Report: "):
        report.job()


def test_defaults_of_a_function_stay_where_the_function_is() -> None:
    assert send.job(7, "a@b.c").payload == {"user_id": 7, "email": "a@b.c"}
    assert send.job(7, email="a@b.c", name="Ann").payload == {"user_id": 7, "email": "a@b.c", "name": "Ann"}


def test_values_are_made_what_the_types_say() -> None:
    assert send.job("7", "A@EXAMPLE.org").payload == {"user_id": 7, "email": "A@example.org"}  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- at the worker


@pytest.mark.parametrize("definition", PAYLOADS, ids=lambda definition: definition.name)
def test_what_a_newer_producer_adds_is_ignored_by_the_worker(definition: Any) -> None:
    data = {"user_id": 7, "email": "a@b.c"} if definition.name == "send" else {"report_id": 7}
    loaded = definition.schema.load({**data, "added": {"tomorrow": 1}})
    assert loaded == (data if definition.name == "send" else Report(report_id=7))


def test_extra_fields_are_ignored_beside_aliases_and_strict_types() -> None:
    class Strange(Queueable):
        raw: bytes = Field(alias="rawData")
        day: Annotated[date, Field(strict=True)]

        def handle(self) -> None: ...

    loaded = Strange.definition.schema.load({"rawData": "AP8=", "day": "2026-03-01", "extra": 1})
    assert (loaded.raw, loaded.day) == (b"\x00\xff", date(2026, 3, 1))


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    size: int


class Nested(Queueable):
    closed: Closed
    open: list[Open]

    def handle(self) -> None: ...


def test_extra_fields_inside_a_model_are_ignored_too_unless_it_asks_for_them() -> None:
    loaded = Nested.definition.schema.load({"closed": {"size": 1, "new": 2}, "open": [{"size": 3, "new": 4}]})
    assert loaded.closed == Closed(size=1)
    assert loaded.open[0].model_extra == {"new": 4}


def test_a_model_that_forbids_extra_fields_forbids_them_at_the_push() -> None:
    with pytest.raises(InvalidPayload, match=r"Nested: field 'closed.new' is unknown"):
        Nested(closed={"size": 1, "new": 2})  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [{"user_id": 7}, {"user_id": "x", "email": "a@b.c"}, {}])
def test_what_a_worker_cant_load_is_told_in_words(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload, match=r"send: field '(email|user_id)'"):
        send.definition.schema.load(data)


def test_positional_arguments_of_a_foreign_producer_get_their_names() -> None:
    assert send.definition.schema.bind((7,), {"email": "a@b.c"}) == {"user_id": 7, "email": "a@b.c"}
    assert Report.definition.schema.bind((7, "csv"), {}) == {"report_id": 7, "format": "csv"}


def test_positional_arguments_that_dont_fit_are_refused_in_words() -> None:
    with pytest.raises(InvalidPayload, match="send: takes 3 arguments, got 4"):
        send.definition.schema.bind((1, 2, 3, 4), {})
    with pytest.raises(InvalidPayload, match="send: field 'user_id' is given twice, by position and by name"):
        send.definition.schema.bind((1,), {"user_id": 1})


# ------------------------------------------------------------------------------------------------- aliases


class Renamed(Queueable):
    queue_name: str = Field(alias="queue")
    inner: Aliased | None = None

    def handle(self) -> None: ...


@queueable
def renamed(push_: Annotated[int, Field(alias="push")]) -> None: ...


def test_an_alias_is_the_name_on_the_wire() -> None:
    assert Renamed(queue="a").job().payload == {"queue": "a", "inner": None}
    assert Renamed(queue="a", inner=Aliased(firstName="Ann")).job().payload["inner"] == {"firstName": "Ann"}
    assert renamed.job(push_=3).payload == {"push": 3}


def test_a_payload_with_aliases_is_loaded_by_alias_and_by_name() -> None:
    load = Renamed.definition.schema.load
    assert load({"queue": "a"}).queue_name == load({"queue_name": "a"}).queue_name == "a"
    assert renamed.definition.schema.load({"push": 3}) == renamed.definition.schema.load({"push_": 3}) == {"push_": 3}


def test_a_field_may_be_read_under_its_old_names_as_long_as_its_own_is_among_them() -> None:
    class Moved(Queueable):
        size: int = Field(validation_alias=AliasChoices("size", "length"))

        def handle(self) -> None: ...

    assert Moved(size=3).job().payload == {"size": 3}
    assert Moved.definition.schema.load({"length": 4}).size == 4


def test_a_field_of_a_job_class_that_has_only_old_names_besides_its_own_arrives() -> None:
    class Moved(Queueable):
        size: int = Field(validation_alias=AliasChoices("length", "width"))

        def handle(self) -> None: ...

    pending = Moved(length=3).job()  # type: ignore[call-arg]
    assert Moved.definition.schema.load(pending.payload).size == 3


# ------------------------------------------------------------------------------------------------- refused types


class Token(Secret[str]):
    pass


class Credentials(BaseModel):
    user: str
    password: SecretStr


class Vault(BaseModel):
    credentials: list[Credentials] = []
    inner: Vault | None = None


@dataclass
class Login:
    password: SecretStr


@dataclass
class AdminLogin(Login):
    pass


class Request(TypedDict):
    login: Login


class Checked(BaseModel):
    password: SecretStr

    @model_validator(mode="after")
    def check(self) -> Checked:
        return self


T = TypeVar("T")


class Holder(BaseModel, Generic[T]):
    held: T


Password = NewType("Password", SecretStr)

SECRETS = [
    ("str", SecretStr, "value"),
    ("bytes", SecretBytes, "value"),
    ("generic", Secret[int], "value"),
    ("subclass", Token, "value"),
    ("new type", Password, "value"),
    ("optional", SecretStr | None, "value"),
    ("union", int | SecretStr, "value"),
    ("annotated", Annotated[SecretStr, Field(min_length=3)], "value"),
    ("list", list[SecretStr], "value"),
    ("dict", dict[str, tuple[int, SecretStr]], "value"),
    ("model", Credentials, "value.password"),
    ("deep model", list[Vault], "value.credentials.password"),
    ("generic model", Holder[SecretStr], "value.held"),
    ("validated model", Checked, "value.password"),
    ("dataclass", Login, "value.password"),
    ("derived dataclass", AdminLogin, "value.password"),
    ("typed dict", Request, "value.login.password"),
]


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize(("kind", "field"), [pytest.param(kind, field, id=name) for name, kind, field in SECRETS])
def test_a_secret_is_refused_at_declaration_at_any_depth(make: Callable[[Any], Carrier], kind: Any, field: str) -> None:
    with pytest.raises(
        InvalidDefinition, match=f"field '{field}' is a secret and would arrive as asterisks; push a ref"
    ):
        make(kind)


class Excluded(BaseModel):
    shown: int
    hidden: int = Field(0, exclude=True)


class TwoNames(BaseModel):
    size: int = Field(serialization_alias="length")


class OnlyOldNames(BaseModel):
    size: int = Field(validation_alias=AliasChoices("length", "width"))


class Unknown:
    pass


REFUSED = [
    ("excluded", Excluded, "field 'value.hidden' has exclude=True and would never arrive; leave that out"),
    ("two names", list[TwoNames], "field 'value.size' is written as 'length' and read as 'size'; give it one alias=…"),
    ("old names", OnlyOldNames, "field 'value.size' is written as 'size' and read as 'length' or 'width'"),
    ("tuple keys", dict[tuple[int, int], int], "field 'value' is a dict whose keys can't be JSON's.* a list of pairs"),
    ("none keys", dict[int | None, int], "field 'value' is a dict whose keys can't be JSON's"),
    (
        "enum literal",
        Literal[Colour.RED],
        "field 'value' is a Literal of an Enum that JSON doesn't know; make it a StrEnum",
    ),
    ("enum of dates", Dated, "field 'value' is an Enum whose values JSON can't hold; make them texts"),
    (
        "bytes literal",
        Literal[b"x"],
        "field 'value' is a Literal of bytes, which JSON can't hold; make it a Literal of",
    ),
    ("hashable", Hashable, "field 'value' is an object of a class without a schema, which JSON can't hold; push its"),
    ("iterable", Iterable[int], "field 'value' is an Iterable, which can be read only once; make it a list"),
    ("callable", Callable[[], int], "field 'value' is a callable, which JSON can't hold"),
    ("class", type[int], "field 'value' is a class, which JSON can't hold"),
    (
        "unknown class",
        Unknown,
        "field 'value' is an object of a class without a schema.*; push its data or a reference",
    ),
    ("unknown class inside", dict[str, list[Unknown]], "field 'value' is an object of a class without a schema"),
    ("unknown class in a union", int | Unknown, "field 'value' is an object of a class without a schema"),
]


@pytest.mark.parametrize("make", [function_job, class_job])
@pytest.mark.parametrize(("kind", "reason"), [pytest.param(kind, reason, id=name) for name, kind, reason in REFUSED])
def test_a_type_that_cant_travel_is_refused_at_declaration_with_the_reason(
    make: Callable[[Any], Carrier], kind: Any, reason: str
) -> None:
    with pytest.raises(InvalidDefinition, match=reason):
        make(kind)


def test_a_type_that_is_defined_later_is_read_at_first_use() -> None:
    def carry(value: Any) -> None: ...

    carry.__annotations__ = {"value": "DefinedLater"}
    job = queueable(carry)
    globals()["DefinedLater"] = int
    try:
        assert job.job(value="3").payload == {"value": 3}
    finally:
        del globals()["DefinedLater"]


def test_a_type_that_is_never_defined_is_told_at_first_use() -> None:
    def carry(value: Any) -> None: ...

    carry.__annotations__ = {"value": "Nowhere"}
    job = queueable(carry)
    with pytest.raises(InvalidDefinition, match=r"carry: .*'Nowhere' is not defined; define a payload's types in the"):
        job.job(value=1)


def test_a_class_whose_field_is_never_defined_is_told_at_first_use() -> None:
    body = {"__annotations__": {"value": "Nowhere"}, "__module__": __name__, "handle": lambda self: None}
    job: Any = types.new_class("Carry", (Queueable,), {}, lambda namespace: namespace.update(body))
    with pytest.raises(InvalidDefinition, match=r"Carry: .*Nowhere.*; define a payload's types in the module"):
        job.definition.schema.load({"value": 1})


# ------------------------------------------------------------------------------------------------- for showing


def test_the_json_schema_names_fields_types_and_what_is_required() -> None:
    schema = send.definition.schema.json_schema()
    assert list(schema["properties"]) == ["user_id", "email", "name"]
    assert schema["required"] == ["user_id", "email"]
    assert schema["additionalProperties"] is False
    assert Report.definition.schema.json_schema()["properties"]["format"]["enum"] == ["pdf", "csv"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x00\xff", "AP8="),
        (math.inf, "Infinity"),
        (Point(1), {"x": 1, "y": 0.0}),
        ({1: {2}}, {"1": [2]}),
        (Unknown, None),
    ],
    ids=["bytes", "infinity", "dataclass", "keys", "class"],
)
def test_anything_can_be_shown_as_json(value: Any, shown: Any) -> None:
    found = jsonable(value)
    assert json.dumps(found)
    assert found == (repr(value) if shown is None else shown)
