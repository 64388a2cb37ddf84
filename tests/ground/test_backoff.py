from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gello_dramatiq import backoff
from gello_dramatiq.backoff import Chosen, Constant, Exponential, Steps, as_backoff
from gello_dramatiq.errors import InvalidDefinition, InvalidDuration

ERROR = ValueError("no")
WAITS = st.floats(0, 10_000)
FACTORS = st.floats(1, 100)
ATTEMPTS = st.integers(1, 10_000)


def seconds(rule: backoff.Backoff, *attempts: int) -> list[float]:
    return [rule.delay(attempt, ERROR).total_seconds() for attempt in attempts]


def test_a_constant_wait_is_the_same_every_time() -> None:
    assert seconds(backoff.constant("30s"), 1, 2, 10_000) == [30, 30, 30]


def test_the_last_wait_of_a_list_repeats() -> None:
    assert seconds(as_backoff(["1s", 5, timedelta(minutes=1)]), 1, 2, 3, 4, 10_000) == [1, 5, 60, 60, 60]


def test_exponential_waits_are_exact_without_jitter() -> None:
    rule = backoff.exponential("1s", factor=3, max="1m", jitter=False)
    assert seconds(rule, 1, 2, 3, 4, 5, 6) == [1, 3, 9, 27, 60, 60]


def test_the_defaults_double_from_a_second_to_five_minutes_with_jitter() -> None:
    assert backoff.exponential() == Exponential(timedelta(seconds=1), 2, timedelta(minutes=5), jitter=True)


@given(WAITS, FACTORS, WAITS, ATTEMPTS)
def test_exponential_waits_never_pass_the_cap_and_never_shrink(first: float, factor: float, cap: float, n: int) -> None:
    rule = backoff.exponential(first, factor=factor, max=cap, jitter=False)
    now, then = seconds(rule, n, n + 1)
    assert 0 <= now <= then <= rule.max.total_seconds()


@given(WAITS, FACTORS, WAITS, ATTEMPTS)
def test_jitter_draws_from_the_upper_half_of_the_exact_wait(first: float, factor: float, cap: float, n: int) -> None:
    (exact,) = seconds(backoff.exponential(first, factor=factor, max=cap, jitter=False), n)
    # Many draws: hypothesis seeds `random`, so that a single one would always be the same.
    drawn = seconds(backoff.exponential(first, factor=factor, max=cap, jitter=True), *[n] * 20)
    assert all(exact / 2 - 1e-6 <= wait <= exact + 1e-6 for wait in drawn)


def test_jitter_spreads_jobs_that_failed_together() -> None:
    assert len(set(seconds(backoff.exponential("10s"), *[1] * 50))) > 40


@pytest.mark.parametrize("factor", [2, 2.0, 1e300])
def test_the_ten_thousandth_wait_is_the_cap(factor: float) -> None:
    assert seconds(backoff.exponential("1s", factor=factor, max="5m", jitter=False), 10_000) == [300]


@pytest.mark.parametrize("factor", [2, 2.0])
def test_no_first_wait_means_no_wait_however_many_attempts(factor: float) -> None:
    assert seconds(backoff.exponential(0, factor=factor, jitter=False), 1, 2, 10_000) == [0, 0, 0]


@pytest.mark.parametrize("factor", [0.5, 0, -1, float("nan"), "2", None])
def test_a_factor_that_would_shrink_the_waits_is_refused(factor: Any) -> None:
    with pytest.raises(InvalidDefinition, match="give 1 or more"):
        backoff.exponential(factor=factor)


def test_a_function_chooses_from_the_attempt_and_its_error() -> None:
    rule = as_backoff(lambda attempt, error: "1h" if isinstance(error, KeyError) else attempt * 10)
    assert rule.delay(3, ERROR) == timedelta(seconds=30)
    assert rule.delay(3, KeyError()) == timedelta(hours=1)


def test_a_function_that_chooses_no_duration_is_told_so() -> None:
    with pytest.raises(InvalidDuration, match="'later' is no duration"):
        as_backoff(lambda attempt, error: "later").delay(1, ERROR)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("1m", Constant(timedelta(minutes=1))),
        (60, Constant(timedelta(minutes=1))),
        (0.5, Constant(timedelta(seconds=0.5))),
        (timedelta(minutes=1), Constant(timedelta(minutes=1))),
        (("1s", "2s"), Steps((timedelta(seconds=1), timedelta(seconds=2)))),
        (divmod, Chosen(divmod)),
    ],
)
def test_each_form_of_backoff_becomes_a_rule(value: Any, rule: object) -> None:
    assert as_backoff(value) == rule


def test_a_rule_stays_itself() -> None:
    rule = backoff.exponential("2s")
    assert as_backoff(rule) is rule


def test_a_rule_of_ones_own_is_anything_with_a_delay() -> None:
    class Fibonacci:
        def delay(self, attempt: int, error: BaseException) -> timedelta:
            return timedelta(seconds=attempt)

    mine = Fibonacci()
    assert as_backoff(mine) is mine


@pytest.mark.parametrize(
    "value",
    [
        [], (), {"1s"}, None, object(), backoff.exponential, Exponential, Constant,
        pytest.param(lambda: 1, id="of nothing"), pytest.param(lambda attempt: 1, id="of one"),
    ],
)  # fmt: skip
def test_what_is_no_backoff_is_refused_with_what_to_give(value: Any) -> None:
    with pytest.raises(InvalidDefinition, match=r"can't be used: give a duration, a list of durations, backoff\.exp"):
        as_backoff(value)


@pytest.mark.parametrize("value", ["soon", True, -1, ["1s", "soon"], [True]])
def test_a_wrong_duration_in_a_backoff_is_named(value: Any) -> None:
    with pytest.raises(InvalidDuration):
        as_backoff(value)
