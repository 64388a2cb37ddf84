"""Settling beside a claim: an error of one undoes nothing of the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from dramatiq.errors import BrokerConnectionError

from gello_dramatiq import Gello, Release, queueable
from gello_dramatiq.aside import Aside
from gello_dramatiq.brokers.memory import MemoryBroker
from gello_dramatiq.claim import Claim
from gello_dramatiq.completer import Completer
from gello_dramatiq.settler import BESIDE, Settler


@queueable
def work(n: int) -> None: ...


class TwoSteps(MemoryBroker):
    """A broker that settles and claims by two connections, of which either may break."""

    settles_as_it_claims = False
    broken = ""
    slow = 0.0

    def claim(self, owner: str, queues: Sequence[str], limit: int) -> list[Claim]:
        if self.broken == "claim" and limit:
            raise BrokerConnectionError("the claim's connection broke")
        return super().claim(owner, queues, limit)

    def settle(self, claims: Sequence[Claim]) -> int:
        if self.broken == "settle":
            raise BrokerConnectionError("the settle's connection broke")
        time.sleep(self.slow)
        return super().settle(claims)


@pytest.fixture
def broker() -> TwoSteps:
    broker = TwoSteps()
    Gello(broker=broker, jobs=[work]).queue.bulk([work.job(n) for n in range(3 * BESIDE)])
    return broker


@pytest.mark.parametrize("jobs", [1, BESIDE])
def test_what_was_claimed_is_handed_out_although_settling_fails_and_is_settled_later(
    broker: TwoSteps, jobs: int
) -> None:
    settler = Settler(broker, Completer(broker, None, lambda claim: None))
    handed: list[Claim] = []
    settler.exchange("me", ["default"], jobs, handed.extend)
    settler.unsettled, done = list(handed), list(handed)
    broker.broken = "settle"
    with pytest.raises(BrokerConnectionError):
        settler.exchange("me", ["default"], jobs, handed.extend)
    assert settler.unsettled == done
    assert settler.processed == 0
    if jobs >= BESIDE:
        assert len(handed) == 2 * jobs
    broker.broken = ""
    settler.exchange("me", ["default"], 0, handed.extend)
    assert (settler.unsettled, settler.processed) == ([], jobs)
    settler.close()


@pytest.mark.parametrize("jobs", [1, BESIDE])
def test_what_was_settled_is_known_although_the_claim_fails(broker: TwoSteps, jobs: int) -> None:
    settler = Settler(broker, Completer(broker, None, lambda claim: None))
    handed: list[Claim] = []
    settler.exchange("me", ["default"], jobs, handed.extend)
    settler.unsettled = list(handed)
    broker.broken = "claim"
    with pytest.raises(BrokerConnectionError):
        settler.exchange("me", ["default"], jobs, handed.extend)
    assert (settler.unsettled, settler.processed) == ([], jobs)
    settler.close()


def test_a_worker_is_not_drained_while_what_it_releases_is_being_settled() -> None:
    jobs, together, runs = BESIDE, threading.Barrier(BESIDE), list[int]()

    @queueable
    def twice(n: int) -> None:
        runs.append(n)
        if len(runs) <= jobs:
            together.wait(10)
            raise Release

    broker = TwoSteps()
    broker.slow = 0.3
    gello = Gello(broker=broker, jobs=[twice])
    gello.queue.bulk([twice.job(n) for n in range(jobs)])
    worker = gello.worker(concurrency=jobs)
    worker.start()
    worker.join()
    assert len(runs) == 2 * jobs
    worker.stop()


def test_a_call_aside_whose_thread_cannot_start_fails_and_the_next_one_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    aside = Aside("aside", threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            aside.ask(str, 1)
    assert aside.ask(str, 2).result(5) == "2"
    aside.close(time.monotonic() + 5)
