from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gello_dramatiq.job import Job
from gello_dramatiq.outcome import Fail, Release
from gello_dramatiq.pipeline import Call, compose

JOB = Job("id", "send", "default", {}, 0, 1, 3, datetime.now(UTC))


def test_the_first_middleware_is_outermost() -> None:
    said: list[str] = []

    def layer(name: str) -> Any:
        def around(job: Job, call: Call) -> Any:
            said.append(f"{name} before {job.name}")
            result = call()
            said.append(f"{name} after")
            return result

        return around

    assert compose([layer("a"), layer("b")], JOB, lambda: said.append("handle") or 7)() == 7
    assert said == ["a before send", "b before send", "handle", "b after", "a after"]


def test_without_middleware_the_call_stays_itself() -> None:
    def call() -> int:
        return 1

    assert compose([], JOB, call) is call


def test_composing_calls_nothing() -> None:
    compose([lambda job, call: pytest.fail("called")], JOB, lambda: pytest.fail("called"))


@pytest.mark.parametrize("refusal", [Release("5m"), Fail("no"), ValueError("no")])
def test_a_middleware_that_raises_refuses_the_job_and_what_is_inside_never_runs(refusal: Exception) -> None:
    def refuse(job: Job, call: Call) -> Any:
        raise refusal

    refused = compose([refuse, lambda job, call: pytest.fail("inner")], JOB, lambda: pytest.fail("handler"))
    with pytest.raises(type(refusal)) as raised:
        refused()
    assert raised.value is refusal


def test_a_middleware_may_skip_the_call() -> None:
    assert compose([lambda job, call: "skipped"], JOB, lambda: pytest.fail("handler"))() == "skipped"


def test_a_middleware_may_handle_the_error_of_what_is_inside() -> None:
    def forgiving(job: Job, call: Call) -> Any:
        try:
            return call()
        except ValueError as error:
            return str(error)

    def broken() -> None:
        raise ValueError("inside")

    assert compose([forgiving], JOB, broken)() == "inside"


def test_a_middleware_may_call_twice() -> None:
    runs: list[int] = []
    compose([lambda job, call: (call(), call())], JOB, lambda: runs.append(1))()
    assert len(runs) == 2


def test_a_middleware_that_turns_out_to_be_async_is_an_error_and_no_job_that_never_ran_is_done() -> None:
    async def late(job: Job, call: Call) -> Any:
        return call()

    hidden = [lambda job, call: late(job, call), lambda job, call: (call(), None)[1]]
    for layers in (hidden, hidden[::-1]):
        with pytest.raises(TypeError, match="is async; make it a plain function"):
            compose(layers, JOB, lambda: None)()
