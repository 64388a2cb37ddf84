"""Answers of a server that never arrive: what was asked has happened, and the asker can't know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.errors import DatabaseUnavailable
from tests import servers
from tests.contracts.conftest import wait_for
from tests.proxy import Proxy

ran: list[int] = []
hooks: list[int] = []


@queueable(max_attempts=1)
def work(n: int) -> None:
    ran.append(n)
    if n < 0:
        raise ValueError(n)


@work.on_failure
def told(error: BaseException, n: int) -> None:
    hooks.append(n)


@pytest.fixture(params=servers.ADMIN)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def direct(kind: str) -> Iterator[Gello]:
    """An app that asks the server itself."""
    ran.clear()
    hooks.clear()
    url = servers.fresh(kind)
    gello = Gello(url, jobs=[work])
    yield gello
    gello.close()


@pytest.fixture
def proxy(direct: Gello) -> Iterator[Proxy]:
    made = Proxy(direct.database.url)
    yield made
    made.close()


@pytest.fixture
def app(proxy: Proxy) -> Iterator[Gello]:
    """An app that asks the server through a proxy."""
    # Longer than a test: nothing is saved by a lease that ends.
    gello = Gello(proxy.url, jobs=[work], lease="60s")
    yield gello
    gello.close()


def test_a_push_whose_answer_is_lost_says_so_and_has_pushed(app: Gello, direct: Gello, proxy: Proxy) -> None:
    app.queue.push(work, 1)
    proxy.swallow_answer_to("INSERT INTO queue_jobs")
    with pytest.raises(DatabaseUnavailable):
        app.queue.push(work, 2)
    assert direct.queue.size() == 2
    app.queue.push(work, 3)
    assert direct.queue.size() == 3
    assert proxy.cut == 1


def work_all(app: Gello, direct: Gello) -> None:
    worker = app.worker(concurrency=2, queues=["default"])
    worker.start()
    try:
        wait_for(lambda: direct.queue.size() == direct.queue.size(state="reserved") == 0)
    finally:
        worker.stop(timeout=5)


CLAIM = {"postgresql": ["SET state = 2"], "mariadb": ["SET state = 2", "COMMIT"]}
"""One statement on the one, a transaction on the other."""
SETTLING = ["DELETE FROM queue_jobs WHERE lease"]


@pytest.mark.parametrize("what", ["claim", "settling"])
def test_what_was_claimed_or_settled_unheard_runs_once(
    kind: str, what: str, app: Gello, direct: Gello, proxy: Proxy
) -> None:
    direct.queue.bulk([work.job(n) for n in range(20)])
    proxy.swallow_answer_to(*(CLAIM[kind] if what == "claim" else SETTLING))
    work_all(app, direct)
    assert proxy.cut == 1
    assert sorted(ran) == list(range(20))
    assert direct.failed.count() == 0


def test_a_job_whose_failure_was_kept_unheard_is_kept_once_and_calls_its_hook_once(
    app: Gello, direct: Gello, proxy: Proxy
) -> None:
    direct.queue.push(work, -1)
    proxy.swallow_answer_to("INTO failed_jobs", "COMMIT")
    work_all(app, direct)
    assert proxy.cut == 1
    assert ran == [-1]
    assert direct.failed.count() == 1
    assert hooks == [-1]
