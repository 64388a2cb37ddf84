"""What is asked of queues and failed jobs has the same answer everywhere, or is refused in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.errors import InvalidSetting


@queueable(max_attempts=1)
def fail() -> None:
    raise LookupError


@pytest.fixture(params=["memory", "sqlite"])
def gello(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gello]:
    app = Gello("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/gello.db", jobs=[fail])
    app.queue.push(fail)
    app.worker(stop_when_empty=True).run()
    yield app
    app.close()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda gello: gello.queue.size(state="running"), "'running': give one of ready, delayed, reserved"),
        (lambda gello: gello.failed.flush(reason="errors"), "'errors': give one of error, timeout, crashed"),
        (lambda gello: gello.failed.count(since="2h"), "since='2h': give a datetime"),
        (lambda gello: gello.failed.all(before=3), "before=3: give a datetime"),
        (lambda gello: gello.failed.all(limit=-1), "limit=-1: give 0 or more"),
        (lambda gello: gello.failed.all(offset=-1), "offset=-1: give 0 or more"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_in_words(
    gello: Gello, ask: Callable[[Gello], Any], says: str
) -> None:
    with pytest.raises(InvalidSetting, match=says):
        ask(gello)
    assert gello.failed.count() == 1


def test_a_moment_without_a_zone_is_local_time(gello: Gello) -> None:
    for now in (datetime.now(), datetime.now(UTC)):  # noqa: DTZ005 - the fact to prove
        minute = timedelta(minutes=1)
        assert gello.failed.count(since=now - minute, before=now + minute) == 1
        assert gello.failed.count(before=now - minute) == 0
        assert gello.failed.count(since=now + minute) == 0


def test_a_page_may_be_empty(gello: Gello) -> None:
    assert gello.failed.all(limit=0) == []
    assert gello.failed.all(offset=1) == []
