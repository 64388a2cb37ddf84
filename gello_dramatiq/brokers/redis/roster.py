"""Where the workers of a Redis stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ...errors import JobCrashed
from ...leases import AFTER_DEATH, Member
from .client import DEAD, Client, texts

_MILLISECOND = timedelta(milliseconds=1)


class RedisRoster:
    """The workers of one Redis.

    Parameters:
      client: Where they stand.
      lease: In seconds.
    """

    def __init__(self, client: Client, lease: float) -> None:
        self._client = client
        self._lease = lease

    def register(self, name: str, queues: str) -> None:
        self._client.ask(lambda redis: redis.hset(self._client.key("__workers__"), name, 0))

    def beat(self, name: str) -> bool:
        return bool(self._client.run("work", "beat", name))

    def others(self, name: str) -> dict[Any, Member]:
        owners, beats = self._client.ask(
            lambda redis: (
                redis.pipeline(transaction=True)
                .smembers(self._client.key("__owners__"))
                .hgetall(self._client.key("__workers__"))
                .execute()
            )
        )
        # An owner who doesn't stand there was forgotten before its claim was made.
        found = {owner: Member(owner, -1) for owner in texts(owners)}
        found |= {owner.decode(): Member(owner.decode(), int(beat)) for owner, beat in beats.items()}
        found.pop(name, None)
        return found

    def bury(self, owner: Any) -> int:
        freed: list[Any] = []
        for queue, key, known, fate in self.holdings(owner):
            if fate == DEAD:
                freed += (queue, key, known, fate, 0)
                continue
            deaths = int(fate.partition(b":")[0] or 0)
            wait = 0
            if known.endswith(b"*"):
                deaths += 1
                wait = AFTER_DEATH.delay(deaths, JobCrashed()) // _MILLISECOND
            freed += (queue, key, known, f"{deaths}:1", wait)
        return int(self._client.run("work", "bury", owner, int(self._lease * 1000), *freed))

    def forget(self, name: str) -> None:
        self._client.run("work", "forget", name)

    def holdings(self, owner: str) -> list[tuple[bytes, bytes, bytes, bytes]]:
        """Queue, id, what it is held by and fate of each job that a worker holds."""
        reply = self._client.run("work", "holdings", owner)
        return list(zip(*(iter(reply),) * 4, strict=True))
