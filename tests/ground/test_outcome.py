from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gello_dramatiq.backoff import Constant, Steps, as_backoff
from gello_dramatiq.errors import (
    InvalidDuration,
    JobCrashed,
    JobEnded,
    JobExpired,
    JobTimeout,
    JobUnknown,
    JobUnloadable,
)
from gello_dramatiq.outcome import (
    DONE,
    MAX_HISTORY,
    Fail,
    Kind,
    Limits,
    Outcome,
    Progress,
    Reason,
    Release,
    Retry,
    decide,
    describe,
)

MINUTE = timedelta(minutes=1)
LIMITS = Limits(max_attempts=3, timeout=MINUTE, backoff=Constant(MINUTE))
ENDLESS = replace(LIMITS, max_attempts=None)


def after(
    error: BaseException | None,
    progress: Progress | None = None,
    limits: Limits = LIMITS,
    age: timedelta = timedelta(0),
    took: float = 0.5,
) -> Outcome:
    return decide(error, progress or Progress(), limits, lambda: age, 1_000, took)


class Rule:
    """A backoff of the user's own."""

    def __init__(self, wait: Any) -> None:
        self._wait = wait

    def delay(self, attempt: int, error: BaseException) -> Any:
        return self._wait


@pytest.mark.parametrize("wait", [60, "1m", MINUTE])
def test_a_backoff_of_ones_own_may_return_any_duration(wait: Any) -> None:
    assert after(ValueError(), limits=replace(LIMITS, backoff=Rule(wait))).delay == MINUTE


@pytest.mark.parametrize("wait", ["soon", None, -1, timedelta(seconds=-1)])
def test_a_backoff_of_ones_own_that_returns_no_duration_is_found_where_it_is_asked(wait: Any) -> None:
    with pytest.raises(InvalidDuration):
        after(ValueError(), limits=replace(LIMITS, backoff=Rule(wait)))


def until_the_end(error: BaseException, limits: Limits = LIMITS) -> list[Outcome]:
    outcomes = [after(error, limits=limits)]
    while outcomes[-1].kind is Kind.RETRIED:
        outcomes.append(after(error, outcomes[-1].progress, limits))
    return outcomes


def test_a_handler_that_returns_is_done_and_nothing_is_remembered() -> None:
    assert after(None) is DONE
    assert DONE.progress is None


@pytest.mark.parametrize("attempts", [1, 2, 3, 10])
def test_max_attempts_counts_the_runs_that_end_in_an_error(attempts: int) -> None:
    outcomes = until_the_end(ValueError("no"), replace(LIMITS, max_attempts=attempts))
    assert [outcome.kind for outcome in outcomes] == [Kind.RETRIED] * (attempts - 1) + [Kind.FAILED]
    assert outcomes[-1].reason is Reason.ERROR
    assert outcomes[-1].progress is not None
    assert outcomes[-1].progress.attempts == attempts


def test_the_wait_between_attempts_is_the_backoffs_for_the_number_of_the_failing_attempt() -> None:
    outcomes = until_the_end(ValueError(), replace(LIMITS, max_attempts=5, backoff=as_backoff(["1s", "5s", "1m"])))
    assert [outcome.delay.total_seconds() for outcome in outcomes] == [1, 5, 60, 60, 0]


def test_the_backoff_sees_the_error() -> None:
    seen: list[tuple[int, BaseException]] = []
    error = ValueError("no")
    after(error, limits=replace(LIMITS, backoff=as_backoff(lambda attempt, error: seen.append((attempt, error)) or 1)))
    assert seen == [(1, error)]


def test_a_release_costs_no_attempt_and_leaves_no_trace_in_the_history() -> None:
    before = Progress(attempts=1, history=[{"attempt": 1}])
    outcome = after(Release("5m"), before)
    assert (outcome.kind, outcome.delay) == (Kind.RELEASED, timedelta(minutes=5))
    assert outcome.progress == Progress(attempts=1, releases=1, history=[{"attempt": 1}])


def test_a_job_released_a_thousand_times_still_has_all_its_attempts() -> None:
    progress = Progress()
    for _ in range(1000):
        outcome = after(Release(1), progress)
        assert outcome.kind is Kind.RELEASED
        assert outcome.progress is not None
        progress = outcome.progress
    assert (progress.releases, progress.spent) == (1000, 0)
    assert after(ValueError(), progress).kind is Kind.RETRIED
    assert after(None, progress) is DONE


def test_a_release_is_a_release_although_it_is_the_last_attempt_or_late_or_no_error_to_retry() -> None:
    limits = replace(LIMITS, max_attempts=1, retry_until=MINUTE, retry_for=(OSError,), fail_for=(Exception,))
    assert after(Release(), Progress(attempts=5), limits, age=timedelta(days=1)).kind is Kind.RELEASED


def test_retry_spends_an_attempt_and_says_its_own_wait() -> None:
    outcome = after(Retry("10s"))
    assert (outcome.kind, outcome.delay) == (Kind.RETRIED, timedelta(seconds=10))
    assert outcome.progress is not None
    assert outcome.progress.attempts == 1


def test_retry_at_once_waits_for_nothing() -> None:
    assert after(Retry(0)).delay == timedelta(0)


def test_retry_without_a_wait_takes_the_jobs_backoff() -> None:
    assert (
        after(Retry(), Progress(attempts=1), replace(LIMITS, backoff=Steps((MINUTE, 2 * MINUTE)))).delay == 2 * MINUTE
    )


def test_retry_on_the_last_attempt_fails_with_what_it_said() -> None:
    outcome = after(Retry("10s", "the server is busy"), Progress(attempts=2))
    assert (outcome.kind, outcome.reason) == (Kind.FAILED, Reason.ERROR)
    assert outcome.error is not None
    assert describe(outcome.error) == "Retry: the server is busy"


def test_fail_ends_a_job_whatever_attempts_are_left() -> None:
    outcome = after(Fail("no such user"), limits=ENDLESS)
    assert (outcome.kind, outcome.reason) == (Kind.FAILED, Reason.ERROR)
    assert outcome.progress is not None
    assert outcome.progress.history[0]["error"] == "Fail: no such user"


def test_fail_for_ends_a_job_at_once_and_its_subclasses_too() -> None:
    limits = replace(LIMITS, fail_for=(LookupError,))
    assert after(KeyError(), limits=limits).kind is Kind.FAILED
    assert after(ValueError(), limits=limits).kind is Kind.RETRIED


def test_retry_for_lets_only_these_errors_be_tried_again() -> None:
    limits = replace(LIMITS, retry_for=(OSError,))
    assert after(ConnectionError(), limits=limits).kind is Kind.RETRIED
    assert after(ValueError(), limits=limits).kind is Kind.FAILED


def test_fail_for_wins_over_retry_for() -> None:
    limits = replace(LIMITS, retry_for=(OSError,), fail_for=(FileNotFoundError,))
    assert after(FileNotFoundError(), limits=limits).kind is Kind.FAILED
    assert after(PermissionError(), limits=limits).kind is Kind.RETRIED


@pytest.mark.parametrize("error", [Retry("1s"), JobTimeout("late")])
def test_retry_for_narrows_errors_and_neither_a_spoken_retry_nor_a_timeout(error: BaseException) -> None:
    assert after(error, limits=replace(LIMITS, retry_for=(OSError,))).kind is Kind.RETRIED


def test_a_timeout_counts_as_an_error_and_is_its_own_reason() -> None:
    outcomes = until_the_end(JobTimeout("ran too long"))
    assert [outcome.kind for outcome in outcomes] == [Kind.RETRIED, Kind.RETRIED, Kind.FAILED]
    assert outcomes[-1].reason is Reason.TIMEOUT


def test_a_timeout_can_be_made_final() -> None:
    outcome = after(JobTimeout(), limits=replace(LIMITS, fail_for=(JobTimeout,)))
    assert (outcome.kind, outcome.reason) == (Kind.FAILED, Reason.TIMEOUT)


def test_a_job_is_tried_until_its_time_is_over() -> None:
    limits = replace(ENDLESS, retry_until=timedelta(hours=1))
    assert after(ValueError(), limits=limits, age=timedelta(minutes=59)).kind is Kind.RETRIED
    late = after(ValueError(), limits=limits, age=timedelta(minutes=59, seconds=1))
    assert (late.kind, late.reason) == (Kind.FAILED, Reason.ERROR)


def test_without_an_end_of_attempts_or_time_a_job_is_always_tried_again() -> None:
    assert after(ValueError(), Progress(attempts=10_000), ENDLESS, age=timedelta(days=9999)).kind is Kind.RETRIED


def test_attempts_end_a_job_before_its_time_does() -> None:
    assert after(ValueError(), Progress(attempts=2), replace(LIMITS, retry_until=timedelta(days=1))).kind is Kind.FAILED


def test_the_age_is_asked_only_where_it_matters() -> None:
    decide(ValueError(), Progress(), LIMITS, lambda: pytest.fail("asked"), 0, 0)


def test_a_death_while_running_spends_an_attempt() -> None:
    assert after(ValueError(), Progress(attempts=1, deaths=1)).kind is Kind.FAILED
    retried = after(ValueError(), Progress(deaths=1))
    assert retried.progress is not None
    assert (retried.progress.attempts, retried.progress.deaths, retried.progress.spent) == (1, 1, 2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (JobCrashed(), Reason.CRASHED),
        (JobExpired(), Reason.EXPIRED),
        (JobUnloadable(), Reason.INVALID_PAYLOAD),
        (JobUnknown(), Reason.UNKNOWN_JOB),
    ],
)
def test_what_ends_a_job_without_its_handler_is_kept_with_its_reason_and_no_attempt(
    error: JobEnded, reason: Reason
) -> None:
    outcome = after(error, Progress(attempts=1), ENDLESS)
    assert (outcome.kind, outcome.reason, outcome.error) == (Kind.FAILED, reason, error)
    assert outcome.progress is not None
    assert outcome.progress.attempts == 1


def test_an_attempt_forgets_that_its_name_was_unknown_once() -> None:
    for error in (ValueError(), Release()):
        outcome = after(error, Progress(unknown_since=5))
        assert outcome.progress is not None
        assert outcome.progress.unknown_since is None


def test_the_history_tells_each_attempt_oldest_first() -> None:
    outcomes = until_the_end(ValueError("no"))
    assert outcomes[-1].progress is not None
    assert outcomes[-1].progress.history == [
        {"attempt": number, "error": "ValueError: no", "started_at": 1_000, "seconds": 0.5} for number in (1, 2, 3)
    ]


def test_the_history_keeps_the_newest_attempts_and_stays_small() -> None:
    progress = Progress()
    for _ in range(MAX_HISTORY * 2):
        outcome = after(ValueError("x" * 10_000), progress, ENDLESS)
        assert outcome.progress is not None
        progress = outcome.progress
    assert [entry["attempt"] for entry in progress.history] == list(range(MAX_HISTORY + 1, MAX_HISTORY * 2 + 1))
    assert len(json.dumps(progress.history)) < MAX_HISTORY * 600


ERRORS = st.sampled_from(
    [None, ValueError("no"), KeyError(), Release("1s"), Retry(), Retry("2s"), Fail("no"), JobTimeout(), JobUnloadable()]
)
PROGRESS = st.builds(
    Progress,
    attempts=st.integers(0, 5),
    deaths=st.integers(0, 5),
    releases=st.integers(0, 5),
    history=st.just([{"a": 1}]),
)
ANY_LIMITS = st.builds(
    Limits,
    max_attempts=st.none() | st.integers(1, 6),
    timeout=st.just(MINUTE),
    backoff=st.just(Constant(MINUTE)),
    retry_for=st.none() | st.just((KeyError,)),
    fail_for=st.just(()) | st.just((ValueError,)),
    retry_until=st.none() | st.just(timedelta(hours=1)),
)


@given(ERRORS, PROGRESS, ANY_LIMITS, st.timedeltas(timedelta(0), timedelta(hours=2)))
def test_deciding_changes_nothing_and_what_it_says_is_whole(
    error: BaseException | None, progress: Progress, limits: Limits, age: timedelta
) -> None:
    before = copy.deepcopy(progress)
    outcome = after(error, progress, limits, age)
    assert progress == before
    assert (outcome.kind is Kind.FAILED) == (outcome.reason is not None)
    assert (outcome.kind is Kind.DONE) == (error is None)
    assert outcome.delay >= timedelta(0)
    if outcome.kind is Kind.RETRIED:
        assert outcome.progress is not None
        assert limits.max_attempts is None or outcome.progress.spent < limits.max_attempts
        assert limits.retry_until is None or age + outcome.delay <= limits.retry_until


@pytest.mark.parametrize("speak", [Release, Retry])
def test_a_wait_that_is_no_duration_is_refused_where_it_is_raised(speak: Any) -> None:
    with pytest.raises(ValueError, match="'soon' is no duration"):
        speak("soon")


def test_an_error_is_described_in_one_line() -> None:
    assert describe(ValueError("no")) == "ValueError: no"
    assert describe(ValueError()) == "ValueError"
    assert describe(Fail()) == "Fail"
    assert describe(ValueError("a\n\t b\x1b[31m\0")) == "ValueError: a b[31m"


def test_an_error_that_cannot_say_its_text_is_decided_like_any_other() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert after(Mute()).kind is Kind.RETRIED
    assert describe(Mute()) == "Mute: its text can't be read: RuntimeError"


def test_what_never_ran_leaves_no_entry() -> None:
    outcome = after(JobCrashed(), Progress(attempts=1, deaths=1))
    assert outcome.progress is not None
    assert (outcome.progress.attempts, outcome.progress.history) == (1, [])
