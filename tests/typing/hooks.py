"""Hooks that type checkers must accept or refuse. Nothing here is run."""

from __future__ import annotations

from typing import Any

from gello_dramatiq import Job, Queueable, queueable


@queueable
def send(user_id: int, email: str) -> None: ...


@queueable
async def fetch(url: str) -> None: ...


@send.before_handle
def before(user_id: int, email: str) -> None: ...


@send.after_handle
async def after(user_id: int, email: str) -> None: ...


@send.on_failure
def failed(error: BaseException, user_id: int, email: str) -> None: ...


@fetch.on_failure
async def unfetched(error: BaseException, url: str) -> None: ...


def a_hook_keeps_its_own_type() -> None:
    before(user_id=7, email="a@b.c")
    before(user_id=7)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    failed(ValueError(), 7, "a@b.c")
    failed(7, "a@b.c")  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]


@send.before_handle  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def without_the_payload() -> None: ...


@send.after_handle  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def with_another_payload(user_id: str, email: str) -> None: ...


@send.on_failure  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def without_the_error(user_id: int, email: str) -> None: ...


@send.on_failure  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def with_one_kind_of_error(error: ValueError, user_id: int, email: str) -> None: ...


def logged(job: Job, call: Any) -> Any:
    return call()


@queueable(middleware=[logged])
def audited() -> None: ...


class Audited(Queueable, middleware=[logged]):
    def handle(self) -> None: ...
