"""Calls of the queue service that type checkers must accept or refuse. Nothing here is run."""

from __future__ import annotations

from typing import assert_type

from gello_dramatiq import Gello, Job, Queueable, queueable

queue = Gello("memory://").queue


@queueable
def send(user_id: int, email: str) -> None: ...


@queueable
async def fetch(url: str) -> bytes:
    return url.encode()


class ProcessReport(Queueable):
    report_id: int
    format: str = "pdf"

    def handle(self) -> None: ...


def plain(user_id: int) -> None: ...


def a_job_is_pushed_in_every_form() -> None:
    assert_type(queue.push(send, user_id=7, email="a@b.c"), Job)
    assert_type(queue.push(send, 7, "a@b.c"), Job)
    assert_type(queue.push(fetch, url="https://example.org"), Job)
    assert_type(queue.push(ProcessReport, report_id=3), Job)
    assert_type(queue.push(ProcessReport(report_id=3)), Job)
    assert_type(queue.push(send.job(user_id=7, email="a@b.c")), Job)
    assert_type(queue.push_on("high", send, user_id=7, email="a@b.c"), Job)
    assert_type(queue.push_on("high", ProcessReport, report_id=3, format="csv"), Job)
    assert_type(queue.push_on("high", ProcessReport(report_id=3)), Job)
    assert_type(queue.later("5m", send, user_id=7, email="a@b.c"), Job)
    assert_type(queue.later("5m", ProcessReport, report_id=3), Job)
    assert_type(queue.later("5m", ProcessReport(report_id=3)), Job)
    assert_type(queue.bulk([send.job(user_id=7, email="a@b.c"), ProcessReport(report_id=3)]), list[Job])
    assert_type(queue.bulk((ProcessReport(report_id=i) for i in range(3)), delay="5m"), list[Job])
    assert_type(queue.bulk([send.job(user_id=i, email="") for i in range(3)] + [send.on("x").job(1, "")]), list[Job])
    assert_type(queue.size("emails", state="delayed"), int)
    assert_type(queue.clear("emails"), int)
    assert_type(queue.names(), list[str])


def a_wrong_payload_of_a_function_is_refused() -> None:
    queue.push(send, user_id=7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.push(send, user_id="7", email="a@b.c")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.push(send, user_id=7, email="a@b.c", x=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.push_on("high", send, user_id=7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.later("5m", send, user_id=7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.later("5m", fetch, url=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def a_wrong_payload_of_a_class_is_refused() -> None:
    queue.push(ProcessReport)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.push(ProcessReport, report_id="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.push(ProcessReport, report_id=3, formt="pdf")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.push(ProcessReport(report_id=3), report_id=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    queue.push_on("high", ProcessReport, reportid=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    queue.later("5m", ProcessReport, report_id="3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def what_is_no_job_is_refused() -> None:
    queue.push(plain, user_id=7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.push("send", user_id=7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.push(int, 7)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.bulk([send])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    queue.bulk([ProcessReport])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    queue.bulk(send.job(user_id=7, email="a@b.c"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def other_wrong_arguments_are_refused() -> None:
    queue.push_on(3, send, user_id=7, email="")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.later(None, send, user_id=7, email="")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    queue.size("emails", state="waiting")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
