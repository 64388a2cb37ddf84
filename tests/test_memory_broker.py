"""What the memory broker does where its outside can't be seen through the contract."""

from __future__ import annotations

import pytest

from gello_dramatiq import Gello, queueable
from gello_dramatiq.brokers.memory import MemoryBroker
from gello_dramatiq.outcome import DONE, Kind, Outcome, Progress


@queueable
def work(n: int) -> None: ...


def test_outcomes_of_which_one_cannot_be_encoded_are_all_left_unsettled() -> None:
    app = Gello("memory://", jobs=[work])
    assert isinstance(app.broker, MemoryBroker)
    app.queue.bulk([work.job(n) for n in range(3)])
    claims = app.broker.claim("me", ["default"], 3)
    for claim in claims:
        claim.outcome = DONE
    claims[1].outcome = Outcome(Kind.RETRIED, progress=Progress(history=[{"error": object()}]))
    with pytest.raises(TypeError):
        app.broker.settle(claims)
    assert app.queue.size(state="reserved") == 3
    claims[1].outcome = DONE
    assert app.broker.settle(claims) == 0
    assert app.queue.size(state="reserved") == 0
    app.close()
