"""Calls of job functions that type checkers must accept or refuse. Nothing here is run."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from gello_dramatiq import Job, JobPriority, PendingJob, QueueableFunction, backoff, current_job, queueable


@queueable
def send(user_id: int, email: str, name: str = "") -> bool:
    return bool(user_id and email and name)


@queueable(
    name="mail.digest",
    queue="emails",
    priority=JobPriority.HIGH,
    max_attempts=5,
    timeout="30s",
    retry_after=60,
    backoff=backoff.exponential("1s", factor=2, max="5m", jitter=True),
    retry_for=(ConnectionError, TimeoutError),
    fail_for=ValueError,
    retry_until=timedelta(hours=1),
    rerun_after_crash=False,
)
def digest(*, user_id: int) -> None: ...


@queueable(backoff=["1s", 5, timedelta(minutes=1)])
async def sync_contact(contact_id: int) -> str:
    return current_job().id


@queueable(backoff=lambda attempt, error: attempt * 10)
def nothing() -> None: ...


class Account:
    @queueable
    @staticmethod
    def close(account_id: int) -> None: ...


def a_job_function_is_typed_like_its_function() -> None:
    assert_type(send(7, "a@b.c"), bool)
    called: Coroutine[Any, Any, str] = sync_contact(contact_id=1)
    called.close()
    assert_type(send.push(user_id=7, email="a@b.c", name="Ann"), Job)
    assert_type(send.push(7, "a@b.c"), Job)
    assert_type(send.later("24h", user_id=7, email="a@b.c"), Job)
    assert_type(send.job(user_id=7, email="a@b.c"), PendingJob)
    assert_type(send.on("high").push(user_id=7, email="a@b.c"), Job)
    assert_type(send.with_options(priority=5, timeout="1m").push(7, email="a@b.c"), Job)
    assert_type(send.on("high").with_options(max_attempts=9).later(5, user_id=7, email="a@b.c"), Job)
    assert_type(send.on("high").job(user_id=7, email="a@b.c"), PendingJob)
    assert_type(sync_contact.push(contact_id=1), Job)
    assert_type(digest.push(user_id=1), Job)
    assert_type(nothing.push(), Job)
    decorated: QueueableFunction[..., None] = digest
    decorated.push(user_id=1)
    Account.close.push(account_id=1)


def every_form_of_a_delay_is_taken() -> None:
    nothing.later("5m")
    nothing.later(5)
    nothing.later(0.5)
    nothing.later(timedelta(minutes=5))
    nothing.later(datetime.now(UTC) + timedelta(minutes=5))
    nothing.later(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    nothing.later()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_wrong_call_is_refused() -> None:
    send(7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send(user_id="7", email="a@b.c")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_wrong_push_is_refused() -> None:
    send.push(user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.push(user_id="7", email="a@b.c")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.push(user_id=7, email="a@b.c", nam="Ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.push(7, "a@b.c", "Ann", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    digest.push(7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    nothing.push(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sync_contact.push(contact_id="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Account.close.push(account_id="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_wrong_later_is_refused() -> None:
    send.later("5m", user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.later("5m", user_id="7", email="a@b.c")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.later(delay="5m", user_id=7, email="a@b.c")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_wrong_pending_job_is_refused() -> None:
    send.job(user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.job(user_id=7, email=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrong_options_of_a_push_are_refused() -> None:
    send.on(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.on("high").push(user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.on("high").later("5m", user_id="7", email="")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.with_options(timeout="1m").push(user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.with_options(timeuot="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.with_options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.with_options(backoff="1m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.on("high").with_options(max_attempts="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    send.job(user_id=7, email="").with_options(tries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong_options_of_a_job_are_refused() -> None:
    @queueable(tries=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue]
    def misnamed() -> None: ...

    @queueable(timeout=["1m"])  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
    def mistyped() -> None: ...

    @queueable(retry_for="ValueError")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
    def no_exception() -> None: ...

    @queueable(middleware=[lambda job: None])  # type: ignore[list-item, misc]  # pyright: ignore[reportArgumentType]
    def one_argument_too_few() -> None: ...
