"""Redis: beside stock Dramatiq, when it refuses, and when it is gone, forgets or loses an answer."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker as StockBroker
from sqlalchemy.engine import make_url

from gello_dramatiq import Gello, queueable
from gello_dramatiq.errors import BrokerUnavailable
from gello_dramatiq.outcome import DONE, GIVEN_BACK
from tests import servers
from tests.contracts.conftest import wait_for
from tests.proxy import Proxy

redis = pytest.importorskip("redis")
ran: list[int] = []


@queueable(max_attempts=1)
def work(n: int) -> None:
    ran.append(n)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Gello]]:
    ran.clear()
    made: list[Gello] = []

    def make(url: str, **options: Any) -> Gello:
        options = {
            "prefix": servers.PREFIX,
            "database": f"sqlite:///{tmp_path / 'memory.db'}",
            "single_host": True,
        } | options
        made.append(Gello(url, jobs=[work], default=True, **options))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def gello(make: Callable[..., Gello]) -> Gello:
    return make(servers.fresh("redis"))


@pytest.fixture
def stock() -> Iterator[StockBroker]:
    broker = StockBroker(url=servers.fresh("redis"), namespace=servers.PREFIX.rstrip(":"))
    yield broker
    broker.close()


@contextmanager
def working(gello: Gello, **options: Any) -> Iterator[Any]:
    worker = gello.worker(concurrency=2, **options)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(timeout=5)


def is_there(port: int) -> bool:
    """Whether a server answers, and has loaded its data."""
    client = redis.Redis(port=port)
    try:
        client.ping()
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    finally:
        client.close()
    return True


@contextmanager
def server(*options: str) -> Iterator[Callable[..., Any]]:
    """A Redis of the test's own; what it gives starts it and returns its URL, again after it was stopped."""
    with tempfile.TemporaryDirectory(prefix="gello-server-", ignore_cleanup_errors=True) as folder:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        processes: list[subprocess.Popen[bytes]] = []

        def start() -> tuple[str, subprocess.Popen[bytes]]:
            process = subprocess.Popen(
                ["redis-server", "--port", str(port), "--dir", folder, "--save", "", *options],
                stdout=subprocess.DEVNULL,
            )
            processes.append(process)
            wait_for(lambda: is_there(port))
            return f"redis://127.0.0.1:{port}/0", process

        try:
            yield start
        finally:
            for process in processes:
                process.kill()
                process.wait()


def test_a_stock_producers_jobs_are_worked_now_and_after_their_delay(gello: Gello, stock: StockBroker) -> None:
    actor = dramatiq.actor(lambda n: None, actor_name="work", broker=stock)
    began = time.monotonic()
    actor.send(n=1)
    actor.send_with_options(kwargs={"n": 2}, delay=600)
    with working(gello):
        wait_for(lambda: ran == [1, 2])
        assert time.monotonic() - began >= 0.6
    assert [gello.queue.size(state=state) for state in ("ready", "delayed", "reserved")] == [0, 0, 0]
    assert servers.redis_messages() == []


def test_gellos_immediate_pushes_reach_a_stock_worker_once(gello: Gello, stock: StockBroker) -> None:
    seen: list[int] = []
    dramatiq.actor(lambda n: seen.append(n), actor_name="work", broker=stock)
    work.push(7)
    stock.emit_after("process_boot")
    worker = dramatiq.Worker(stock, worker_threads=1, worker_timeout=50)
    worker.start()
    wait_for(lambda: seen == [7])
    wait_for(lambda: servers.redis_messages() == [])
    worker.stop()
    assert gello.queue.size() == 0


def test_what_a_stock_worker_gave_up_is_kept_as_failed_and_never_run(gello: Gello, stock: StockBroker) -> None:
    def refuse(n: int) -> None:
        raise ValueError(n)

    dramatiq.actor(refuse, actor_name="work", broker=stock, max_retries=0)
    work.push(7)
    stock.emit_after("process_boot")
    worker = dramatiq.Worker(stock, worker_threads=1, worker_timeout=50)
    worker.start()
    client = redis.Redis.from_url(servers.REDIS)
    dead = f"{servers.PREFIX}default.XQ"
    wait_for(lambda: client.zcard(dead) == 1)
    worker.stop()
    # Once by one that dies before it has kept it: freed, it is still no job to run.
    broker: Any = gello.broker
    assert len(broker.claim("gone", ["default"], 5)) == 1
    assert broker._roster.bury("gone") == 1
    with working(gello):
        wait_for(lambda: gello.failed.count() == 1 and servers.redis_messages() == [])
    (failed,) = gello.failed.all()
    assert (failed.payload, failed.reason) == ({"n": 7}, "error")
    assert "gave it up" in failed.exception
    assert (ran, client.zcard(dead), client.exists(f"{dead}.msgs")) == ([], 0, 0)
    assert gello.failed.retry_all() == 1
    with working(gello):
        wait_for(lambda: ran == [7])
    client.close()


def test_jobs_of_the_same_priority_that_are_given_back_keep_their_order(gello: Gello) -> None:
    broker: Any = gello.broker
    gello.queue.bulk([work.job(n) for n in range(6)])
    claims = broker.claim("one", ["default"], 4)
    for claim in claims:
        claim.outcome = GIVEN_BACK
    assert broker.settle(claims) == 0
    assert [claim.kwargs["n"] for claim in broker.claim("two", ["default"], 6)] == list(range(6))


def test_what_a_worker_holds_that_was_forgotten_is_freed(gello: Gello, make: Callable[..., Gello]) -> None:
    broker: Any = gello.broker
    work.push(1)
    roster = broker._roster
    roster.register("ended", "")
    assert len(broker.claim("ended", ["default"], 1)) == 1
    roster.forget("ended")
    observer = make(servers.REDIS, lease="0.5s")
    with working(observer, queues=["other"]):
        wait_for(lambda: gello.queue.size() == 1)
        wait_for(lambda: "ended" not in roster.others("me"))


def test_a_server_that_is_down_is_named_soon_and_without_its_password(make: Callable[..., Gello]) -> None:
    make("redis://:secret@127.0.0.1:9/0")
    began = time.monotonic()
    with pytest.raises(
        BrokerUnavailable, match=r"redis://:\*\*\*@127.0.0.1:9/0 isn't there: nothing listens"
    ) as raised:
        work.push(1)
    assert time.monotonic() - began < 5
    assert "secret" not in str(raised.value)


def test_a_password_that_is_missing_or_wrong_is_named(make: Callable[..., Gello]) -> None:
    with server("--requirepass", "right") as start:
        url, _ = start()
        make(url.replace("redis://", "redis://:right@")).queue.push(work, 1)
        with pytest.raises(BrokerUnavailable, match="asks for a password"):
            make(url).queue.push(work, 1)
        with pytest.raises(BrokerUnavailable, match="refuses the user or the password"):
            make(url.replace("redis://", "redis://:wrong@")).queue.push(work, 1)


def test_a_database_that_does_not_exist_is_named(make: Callable[..., Gello]) -> None:
    with pytest.raises(BrokerUnavailable, match="has no database of this number"):
        make(servers.fresh("redis").replace("/15", "/99999")).queue.push(work, 1)


def test_a_server_that_is_killed_and_started_again_loses_no_job_and_the_worker_goes_on(
    make: Callable[..., Gello],
) -> None:
    with server("--appendonly", "yes", "--appendfsync", "always") as start:
        url, process = start()
        app = make(url)
        app.queue.bulk([work.job(n) for n in range(300)])
        with working(app):
            wait_for(lambda: len(ran) > 50)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(1)
            start()
            wait_for(lambda: set(ran) == set(range(300)), 20)
            work.push(300)
            wait_for(lambda: 300 in ran)
            wait_for(lambda: app.queue.size() + app.queue.size(state="reserved") == 0)
        assert set(ran) == set(range(301))
        assert app.queue.size(state="delayed") == app.failed.count() == 0


def test_a_server_that_forgot_everything_is_worked_on(gello: Gello, caplog: pytest.LogCaptureFixture) -> None:
    broker: Any = gello.broker
    with working(gello):
        work.push(1)
        wait_for(lambda: ran == [1])
        keys = list(broker.client.redis.scan_iter(f"{servers.PREFIX}*"))
        broker.client.redis.delete(*keys)
        work.push(2)
        wait_for(lambda: ran == [1, 2])
    assert "an error that it doesn't know" not in caplog.text


def test_connections_that_are_killed_again_and_again_lose_nothing(gello: Gello) -> None:
    broker: Any = gello.broker
    admin = redis.Redis.from_url(servers.REDIS)
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.1):
            for client in admin.client_list():
                if client["name"] == "gello":
                    admin.client_kill_filter(_id=client["id"])

    killing = threading.Thread(target=kill)
    killing.start()
    pushed = []
    with working(gello):
        for n in range(200):
            try:
                work.push(n)
            except BrokerUnavailable:  # it may have happened, or not
                continue
            pushed.append(n)
            time.sleep(0.01)
        over.set()
        killing.join()
        wait_for(lambda: set(pushed) <= set(ran))
        wait_for(lambda: gello.queue.size() + gello.queue.size(state="reserved") == 0)
    assert broker.coordinator is None


@pytest.mark.parametrize("command", [b"exchange", b"put"])
def test_an_answer_that_is_lost_loses_no_job(make: Callable[..., Gello], command: bytes) -> None:
    proxy = Proxy(make_url(servers.fresh("redis")))
    try:
        direct = make(servers.fresh("redis"))
        app = make(proxy.url, lease="60s")
        direct.queue.push(work, 1)
        with working(app):
            wait_for(lambda: ran == [1])
            if command == b"put":
                proxy.swallow_answer_to(servers.PREFIX.rstrip(":"))
                with pytest.raises(BrokerUnavailable):
                    app.queue.push(work, 2)
                wait_for(lambda: 2 in ran or proxy.cut > 0)
            else:
                proxy.swallow_answer_to("exchange")
                direct.queue.push(work, 2)
                wait_for(lambda: 2 in ran)
            direct.queue.push(work, 3)
            wait_for(lambda: 3 in ran)
            wait_for(lambda: direct.queue.size() + direct.queue.size(state="reserved") == 0)
        assert proxy.cut == 1
    finally:
        proxy.close()


def test_where_memory_is_full_a_push_is_refused_and_workers_go_on(make: Callable[..., Gello]) -> None:
    with server("--maxmemory", "6mb") as start:
        app = make(start()[0])
        broker: Any = app.broker
        jobs = [work.job(n) for n in range(5000)]
        app.queue.bulk(jobs[:200])

        def fill() -> None:
            for _ in range(20):
                app.queue.bulk(jobs)

        with pytest.raises(BrokerUnavailable, match="has no memory left for more jobs"):
            fill()
        claims = broker.claim("me", ["default"], 100)
        assert len(claims) == 100
        for claim in claims:
            claim.outcome = DONE
        assert broker.settle(claims) == 0


def test_a_server_that_may_drop_jobs_is_named_when_a_worker_starts(
    make: Callable[..., Gello], caplog: pytest.LogCaptureFixture
) -> None:
    with server("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as start, working(make(start()[0])):
        pass
    assert "drops keys when its memory is full (maxmemory-policy allkeys-lru)" in caplog.text


def test_failures_that_one_machine_alone_remembers_are_named_when_a_worker_is_made(
    make: Callable[..., Gello], caplog: pytest.LogCaptureFixture
) -> None:
    make(servers.fresh("redis"), single_host=False).worker()
    assert "failed jobs are kept in sqlite:///" in caplog.text
    caplog.clear()
    make(servers.fresh("redis")).worker()
    assert caplog.text == ""
