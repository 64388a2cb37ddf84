"""Tables that are upgraded under workers: those of the version before go on, older ones are told."""

from __future__ import annotations

import re

import pytest

from gello_dramatiq import Gello
from gello_dramatiq.database.migrations import Migrator
from gello_dramatiq.errors import DatabaseUnavailable
from tests.chaos.conftest import Rig
from tests.chaos.jobs import fails_in, steady
from tests.contracts.conftest import DURABLE
from tests.versions import NEWEST, VERSIONS

IN_A_DATABASE = pytest.mark.parametrize("rig", DURABLE, indirect=True)

pytestmark = pytest.mark.slow


@IN_A_DATABASE
def test_workers_and_pushes_of_one_version_back_go_on_with_newer_tables(rig: Rig) -> None:
    running = rig.worker(2)
    steady.push(0, 1)
    rig.gello.queue.bulk([steady.job(n, 0.01) for n in range(1, 100)])
    rig.wait(lambda: rig.count("finish").total() > 20)
    assert len(Migrator(rig.gello.database, VERSIONS[:-1]).install()) == 1
    rig.gello.queue.bulk([steady.job(n, 0.01) for n in range(100, 200)])
    failing = fails_in.push(running.pid, 0)
    rig.wait(lambda: [job.id for job in rig.gello.failed.all()] == [failing.id])
    begun_later = rig.worker(2)
    rig.wait(lambda: rig.count("finish").total() == 200)
    steady.push(200, 0.5)
    steady.later("200ms", 201)
    rig.hit(running)
    rig.gello.failed.retry(failing.id)
    rig.wait_until_empty()
    assert {"200", "201", "fails_in"} <= {event.key for event in rig.events("finish") if event.pid == begun_later.pid}
    rig.check(again=2 * 2 + 1)  # what two threads ran or had unsettled, and the retry
    assert "ERROR:gello.worker" not in rig.logs()


@IN_A_DATABASE
def test_tables_that_are_two_versions_newer_are_refused_in_one_line_before_anything_is_pushed(rig: Rig) -> None:
    Migrator(rig.gello.database, VERSIONS).install()
    newcomer = Gello(rig.url, modules=["tests.chaos.jobs"])
    says = f"has tables of version {NEWEST + 2}, this Gello knows {NEWEST}; upgrade Gello."
    with pytest.raises(DatabaseUnavailable, match=re.escape(says)) as raised:
        newcomer.queue.push(steady, 1)
    newcomer.close()
    assert "\n" not in str(raised.value)
    assert rig.gello.queue.size() == 0
    assert rig.worker(1).wait(20) == 1
    assert rig.logs().splitlines()[-1].endswith(says)
