"""Calls of job classes that type checkers must accept or refuse. Nothing here is run.

Wrong class keywords are not here: no checker looks at those of a class with pydantic's metaclass. They are refused when
the class is declared, with the option that was meant.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from gello_dramatiq import Job, PendingJob, Queueable, backoff


class ProcessReport(
    Queueable,
    name="reports.process",
    queue="reports",
    priority=2,
    max_attempts=5,
    timeout="1h",
    retry_after=timedelta(minutes=1),
    backoff=backoff.exponential("1s", factor=2, max="5m", jitter=True),
    retry_for=(OSError,),
    fail_for=(ValueError, KeyError),
    retry_until=86400,
    middleware=[lambda job, call: call()],
    rerun_after_crash=False,
):
    report_id: int
    format: str = "pdf"

    def before_handle(self) -> None: ...
    def handle(self) -> None: ...
    def after_handle(self) -> None: ...
    def on_failure(self, error: BaseException) -> None: ...


class Fetch(Queueable):
    url: str
    queue: str = "a field may be called so"

    async def handle(self) -> None: ...


class FetchTwice(Fetch, queue="slow"):
    again: bool = True


def a_class_is_typed_by_its_fields() -> None:
    report = ProcessReport(report_id=3)
    assert_type(report.format, str)
    assert_type(report.push(), Job)
    assert_type(report.later("5m"), Job)
    assert_type(report.job(), PendingJob)
    assert_type(report.on("high").push(), Job)
    assert_type(report.on("high").later(5), Job)
    assert_type(report.with_options(priority=5).on("high").job(), PendingJob)
    FetchTwice(url="https://example.org", queue="one", again=False).push()


def a_wrong_payload_is_refused() -> None:
    ProcessReport()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ProcessReport(3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ProcessReport(report_id="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ProcessReport(report_id=3, formt="pdf")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    FetchTwice(url=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    FetchTwice(again=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def a_push_takes_no_payload() -> None:
    report = ProcessReport(report_id=3)
    report.push(report_id=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    report.later()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    report.later(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    report.on("high").push(report_id=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wrong_options_of_a_push_are_refused() -> None:
    report = ProcessReport(report_id=3)
    report.on(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    report.with_options(tries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    report.with_options(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def a_field_of_an_unknown_name_is_refused(report: ProcessReport) -> Any:
    return report.reportid  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
