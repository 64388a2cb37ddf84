from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gello_dramatiq.durations import delay, duration, spell
from gello_dramatiq.errors import InvalidDuration

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@pytest.mark.parametrize(
    ("value", "length"),
    [
        (timedelta(minutes=2), timedelta(minutes=2)),
        (0, timedelta(0)),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        (" 1h 30m ", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("2w1d", timedelta(days=15)),
        ("90", timedelta(seconds=90)),
        ("0.5", timedelta(milliseconds=500)),
        ("0s", timedelta(0)),
    ],
)
def test_every_way_to_write_a_duration_is_read(value: Any, length: timedelta) -> None:
    assert duration(value) == length


@pytest.mark.parametrize(
    "value",
    [
        "", "  ", "s", "5 parsecs", "5x", "1h-30m", "1h,30m", "-5s", "5S", "1h half", "5m!", "nan", "inf", "1e400",
        float("nan"), float("inf"), 1e300, "9" * 400 + "d", True, False, None, b"5s", [], {}, 1j,
        datetime(2026, 3, 1, tzinfo=UTC), NOW.date(),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_examples(value: Any) -> None:
    with pytest.raises(
        InvalidDuration, match=r'no duration: give .* "30s", "5m" or "1h30m" \(units: ms, s, m, h, d, w\)'
    ):
        duration(value)


@pytest.mark.parametrize("value", [-1, -0.001, "-5", timedelta(microseconds=-1)])
def test_a_negative_duration_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDuration, match=r"is negative; a duration is zero or longer"):
        duration(value)


def test_an_invalid_duration_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="soon"):
        duration("soon")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5))
def test_the_parts_of_a_text_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert duration(text) == sum((count * UNITS[unit] for count, unit in parts), timedelta(0))


@given(st.integers(0, 10**9))
def test_a_number_means_the_same_alone_in_a_text_and_with_its_unit(seconds: int) -> None:
    assert duration(seconds) == duration(str(seconds)) == duration(f"{seconds}s") == timedelta(seconds=seconds)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    refused = ""
    try:
        assert duration(text) >= timedelta(0)
    except InvalidDuration as error:
        refused = str(error)
    assert not refused or refused.startswith(repr(text))


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(microseconds=1), "0s"),
        (timedelta(milliseconds=1), "0.001s"),
        (timedelta(seconds=4.2), "4.2s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(minutes=154), "2h 34m"),
        (timedelta(hours=2, seconds=5), "2h"),
        (timedelta(days=3, hours=4, minutes=5), "3d 4h"),
        (timedelta(days=400), "400d"),
    ],
)
def test_a_duration_is_spelled_with_its_two_largest_units(length: timedelta, text: str) -> None:
    assert spell(length) == text


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_what_is_spelled_reads_back_up_to_its_smallest_unit(length: timedelta) -> None:
    step = next((UNITS[unit] for unit, least in (("h", "d"), ("m", "h"), ("s", "m")) if length >= UNITS[least]), None)
    back = duration(spell(length))
    if step is None:
        assert abs(back - length) <= max(timedelta(milliseconds=1), length / 100)
    else:
        assert timedelta(0) <= length - back < step


@pytest.mark.parametrize("value", ["5m", 300, 300.0, timedelta(minutes=5), NOW + timedelta(minutes=5)])
def test_a_delay_is_a_duration_or_a_moment(value: Any) -> None:
    assert delay(value, now=NOW) == timedelta(minutes=5)


def test_a_moment_that_has_passed_is_no_delay() -> None:
    assert delay(NOW - timedelta(days=1), now=NOW) == timedelta(0)
    assert delay(datetime(1999, 1, 1, tzinfo=UTC)) == timedelta(0)


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    there = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=-7)))
    assert delay(there, now=NOW) == timedelta(hours=1)


def test_a_moment_without_a_zone_is_local_time() -> None:
    here = NOW.astimezone().replace(tzinfo=None)
    assert delay(here + timedelta(hours=1), now=NOW) == timedelta(hours=1)


@pytest.mark.parametrize("hours", [-14, 14])
def test_the_ends_of_the_calendar_are_moments_in_every_zone(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    assert delay(datetime.min.replace(tzinfo=zone), now=NOW) == timedelta(0)
    assert delay(datetime.max.replace(tzinfo=zone), now=NOW) > timedelta(days=365 * 7000)


def test_without_now_a_delay_counts_from_the_clock() -> None:
    assert timedelta(minutes=59) < delay(datetime.now(UTC) + timedelta(hours=1)) <= timedelta(hours=1)
