"""The types that a payload's field may have, each with the values it may hold."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired
from uuid import UUID

from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ByteSize, ConfigDict, EmailStr, Field, HttpUrl, RootModel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Unit(enum.StrEnum):
    METRE = "m"
    FOOT = "ft"


class Dated(enum.Enum):
    FIRST = date(2026, 1, 1)


class UserId(int):
    pass


class Address(BaseModel):
    street: str
    number: int | None = None


class Office(Address):
    floor: int


class Customer(BaseModel):
    name: str
    addresses: list[Address] = []
    born: date
    photo: bytes = b""


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    number: int
    day: date
    moment: datetime
    key: UUID
    pair: tuple[int, str]
    tags: set[str]
    raw: bytes


class Aliased(BaseModel):
    first_name: str = Field(alias="firstName")


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[str]


class Numbers(RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


@pydantic_dataclass
class Line:
    start: Point
    end: Point


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: date


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTS = st.integers(-(2**70), 2**70)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
AWARE = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
)
SPANS = st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000))
POINTS = st.builds(Point, st.integers(), FINITE)
ADDRESSES = st.builds(Address, street=TEXT, number=st.none() | st.integers())
ODD_NUMBERS = st.integers().map(UserId)
CUSTOMERS = st.builds(
    Customer, name=TEXT, addresses=st.lists(ADDRESSES, max_size=2), born=st.dates(), photo=st.binary(max_size=20)
)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | FINITE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STRICT = st.builds(
    Strict,
    number=st.integers(),
    day=st.dates(),
    moment=AWARE,
    key=st.uuids(),
    pair=st.tuples(st.integers(), TEXT),
    tags=st.sets(TEXT, max_size=3),
    raw=st.binary(max_size=20),
)
TREES = st.recursive(
    st.builds(Tree, value=st.integers()),
    lambda inner: st.builds(Tree, value=st.integers(), children=st.lists(inner, max_size=2)),
    max_leaves=4,
)
CATS = st.builds(Cat, lives=st.integers())
DOGS = st.builds(Dog, tricks=st.lists(TEXT, max_size=2))

TYPES: list[tuple[str, Any, st.SearchStrategy[Any]]] = [
    ("bool", bool, st.booleans()),
    ("int", int, INTS),
    ("float", float, FLOATS),
    ("str", str, TEXT),
    ("bytes", bytes, st.binary(max_size=50)),
    ("none", None, st.none()),
    ("date", date, st.dates()),
    ("aware datetime", datetime, AWARE),
    ("naive datetime", datetime, st.datetimes()),
    ("time", time, st.times()),
    ("timedelta", timedelta, SPANS),
    ("decimal", Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    ("fraction", Fraction, st.fractions()),
    ("enum literals", Literal[Unit.METRE, Level.LOW], st.sampled_from([Unit.METRE, Level.LOW])),
    ("complex", complex, st.complex_numbers(allow_nan=False, allow_infinity=False)),
    ("uuid", UUID, st.uuids()),
    ("enum", Colour, st.sampled_from(Colour)),
    ("int enum", Level, st.sampled_from(Level)),
    ("str enum", Unit, st.sampled_from(Unit)),
    ("literal", Literal["a", 1, True, None], st.sampled_from(["a", 1, None])),
    ("optional", int | None, st.none() | INTS),
    ("union", int | str | None, INTS | TEXT | st.none()),
    ("union of float and int", int | float, INTS | FINITE),
    ("union of date and datetime", date | datetime, st.dates() | AWARE),
    ("union of uuid and int", UUID | int, st.uuids() | INTS),
    ("union of models", Cat | Dog, CATS | DOGS),
    ("tagged union", Annotated[Cat | Dog, Field(discriminator="kind")], CATS | DOGS),
    ("list", list[int], st.lists(INTS, max_size=4)),
    ("list of bytes", list[bytes], st.lists(st.binary(max_size=9), max_size=3)),
    ("sequence", Sequence[str], st.lists(TEXT, max_size=4)),
    ("deque", deque[int], st.lists(INTS, max_size=4).map(deque)),
    ("fixed tuple", tuple[int, str, date], st.tuples(INTS, TEXT, st.dates())),
    ("long tuple", tuple[float, ...], st.lists(FINITE, max_size=4).map(tuple)),
    ("set", set[date], st.sets(st.dates(), max_size=3)),
    ("frozenset", frozenset[UUID], st.frozensets(st.uuids(), max_size=3)),
    ("dict", dict[str, float], st.dictionaries(TEXT, FINITE, max_size=3)),
    (
        "dict of dicts",
        dict[str, dict[str, int]],
        st.dictionaries(TEXT, st.dictionaries(TEXT, INTS, max_size=2), max_size=2),
    ),
    ("mapping", Mapping[str, int], st.dictionaries(TEXT, INTS, max_size=3)),
    ("dict with int keys", dict[int, str], st.dictionaries(INTS, TEXT, max_size=3)),
    ("dict with uuid keys", dict[UUID, int], st.dictionaries(st.uuids(), INTS, max_size=3)),
    ("dict with date keys", dict[date, bytes], st.dictionaries(st.dates(), st.binary(max_size=5), max_size=3)),
    ("dict with enum keys", dict[Level, int], st.dictionaries(st.sampled_from(Level), INTS, max_size=2)),
    ("dict with bool keys", dict[bool, int], st.dictionaries(st.booleans(), INTS, max_size=2)),
    ("dict with float keys", dict[float, int], st.dictionaries(FINITE, INTS, max_size=2)),
    ("dict with bytes keys", dict[bytes, int], st.dictionaries(st.binary(max_size=5), INTS, max_size=2)),
    ("any", Any, JSON),
    ("model", Customer, CUSTOMERS),
    ("models", list[Customer], st.lists(CUSTOMERS, max_size=2)),
    ("strict model", Strict, STRICT),
    ("strict date", Annotated[date, Field(strict=True)], st.dates()),
    ("aliased model", Aliased, st.builds(Aliased, firstName=TEXT)),
    ("recursive model", Tree, TREES),
    ("root model", Numbers, st.builds(Numbers, st.lists(st.integers(), max_size=3))),
    ("dataclass", Point, POINTS),
    ("pydantic dataclass", Line, st.builds(Line, POINTS, POINTS)),
    ("typed dict", Movie, st.fixed_dictionaries({"title": TEXT}, optional={"year": INTS})),
    ("named tuple", Pair, st.builds(Pair, INTS, st.dates())),
    ("constrained", Annotated[int, Field(gt=0)], st.integers(1)),
    ("path", Path, st.sampled_from(["/srv/a b", ".", "x/y.txt"]).map(Path)),
    ("pure path", PurePosixPath, st.just(PurePosixPath("/etc"))),
    ("ipv4", IPv4Address, st.ip_addresses(v=4)),
    ("ipv6", IPv6Address, st.ip_addresses(v=6)),
    ("network", IPv4Network, st.just(IPv4Network("10.0.0.0/8"))),
    ("interface", IPv4Interface, st.just(IPv4Interface("10.0.0.1/8"))),
    ("url", AnyUrl, st.sampled_from(["redis://h:1/0", "https://example.org/a?b=c#d"]).map(AnyUrl)),
    ("http url", HttpUrl, st.just(HttpUrl("https://example.org/a"))),
    ("email", EmailStr, st.just("ann@example.org")),
    ("pattern", re.Pattern[str], st.just(re.compile("a+b"))),
    ("byte size", ByteSize, st.integers(0, 2**40).map(ByteSize)),
    ("float or str", float | str, FINITE | TEXT),
    ("object", object, JSON),
    ("bare dict", dict, st.dictionaries(TEXT, JSON, max_size=2)),
    ("bare list", list, st.lists(JSON, max_size=2)),
    ("optional bytes", bytes | None, st.none() | st.binary(max_size=5)),
    ("optional float", float | None, st.none() | FLOATS),
]

ANYTHING = st.recursive(
    JSON | FLOATS | st.dates() | AWARE | st.times() | SPANS | st.uuids() | st.decimals() | st.binary(max_size=9)
    | st.complex_numbers() | st.sampled_from([*Colour, *Level, *Unit, *Dated]) | POINTS | ADDRESSES | ODD_NUMBERS,
    lambda inner: st.lists(inner, max_size=2)
    | st.lists(inner, max_size=2).map(tuple)
    | st.sets(INTS | st.dates(), max_size=2)
    | st.dictionaries(INTS | TEXT, inner, max_size=2),
    max_leaves=3,
)  # fmt: skip
WRITTEN = st.dates().map(str) | AWARE.map(datetime.isoformat) | st.uuids().map(str) | st.just("AP8=") | TEXT

CONFUSABLE: list[tuple[str, Any, st.SearchStrategy[Any]]] = [
    ("any", Any, ANYTHING),
    ("object", object, ANYTHING),
    ("bare dict", dict, st.dictionaries(INTS | TEXT, ANYTHING, max_size=2)),
    ("list of any", list[Any], st.lists(ANYTHING, max_size=2)),
    ("date or str", date | str, st.dates() | WRITTEN),
    ("datetime or str", datetime | str, AWARE | WRITTEN),
    ("bytes or str", bytes | str, st.binary(max_size=9) | WRITTEN),
    ("uuid or str", UUID | str, st.uuids() | WRITTEN),
    ("decimal or str", Decimal | str, st.decimals() | INTS.map(str) | TEXT),
    (
        "decimal or float",
        Decimal | float,
        st.decimals(allow_nan=False, allow_infinity=False) | FLOATS,  # an infinite Decimal is made a float by its check
    ),
    ("timedelta or str", timedelta | str, SPANS | st.just("P1D") | TEXT),
    ("path or str", Path | str, st.just(Path("a")) | TEXT),
    ("list or set", list[int] | set[int], st.lists(INTS, max_size=2) | st.sets(INTS, max_size=2)),
    ("int or enum", int | Level, INTS | st.sampled_from(Level) | st.sampled_from([1, 2])),
    ("enum or str", Unit | str, TEXT | st.sampled_from(Unit) | st.sampled_from(["m", "ft"])),
    ("dict with int or str keys", dict[int | str, int], st.dictionaries(INTS | TEXT | INTS.map(str), INTS, max_size=2)),
    ("sequence", Sequence[int], st.lists(INTS, max_size=2) | st.lists(INTS, max_size=2).map(tuple)),
    ("any moment", datetime, st.datetimes(timezones=st.timezones())),
    ("any time", time, st.times(timezones=st.timezones())),
    ("model", Address, ADDRESSES | st.builds(Office, street=TEXT, floor=INTS)),
]
"""Types of which some values can't make the way through JSON: those are refused at the push."""
