"""Names of dead workers: what they held is freed, and what they claim too late as well."""

from __future__ import annotations

from sqlalchemy import select

from gello_dramatiq import queueable
from gello_dramatiq.brokers.database.broker import DatabaseBroker
from gello_dramatiq.brokers.database.roster import owner_number
from tests.contracts.conftest import DURABLE, Bench, on, wait_for


@on(*DURABLE)
def test_what_a_dead_name_claims_late_is_freed_too_and_a_lease_later_the_name_is_forgotten(bench: Bench) -> None:
    @queueable
    def work() -> None: ...

    app = bench.app(work, lease="0.8s")
    broker = app.broker
    assert isinstance(broker, DatabaseBroker)
    workers = broker.database.tables.workers
    gone = workers.c.id == "gone"
    with broker.database.write() as connection:
        silent = {
            "id": "gone",
            "owner": owner_number("gone"),
            "host": "h",
            "pid": 1,
            "queues": "",
            "started_at": 1,
            "beat": 1,
            "beat_at": 1,
        }
        connection.execute(workers.insert(), silent)

    def known() -> bool:
        with broker.database.read() as connection:
            return connection.execute(select(workers.c.id).where(gone)).first() is not None

    app.queue.push(work)
    broker.claim("gone", ["default"], 1)
    observer = app.worker(concurrency=1, queues=["other"])
    observer.start()
    for _ in range(2):
        wait_for(lambda: app.queue.size() == 1)
        assert known(), "its name stays for a lease"
        broker.claim("gone", ["default"], 1)
    wait_for(lambda: not known())
    observer.stop()
