"""The middleware by which a worker's flags reach the jobs that it works."""

from __future__ import annotations

from typing import Any

from dramatiq import Actor, Broker, Middleware
from dramatiq.worker import Worker as AnyWorker

from .actor import JobActor
from .options import Options
from .worker import Worker


class WorkerLimits(Middleware):
    """Lets a worker's flags count, while it works, for the jobs that say nothing themselves.

    It stands after what may refuse a worker.
    """

    def __init__(self) -> None:
        self._limits = Options()

    def before_worker_boot(self, broker: Broker, worker: AnyWorker) -> None:
        if isinstance(worker, Worker):
            self._set(broker, worker.limits)

    def after_worker_shutdown(self, broker: Broker, worker: AnyWorker) -> None:
        self._set(broker, Options())

    def before_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        if isinstance(actor, JobActor):
            actor.limit_by(self._limits)

    def _set(self, broker: Broker, limits: Options) -> None:
        self._limits = limits
        for actor in broker.actors.copy().values():
            self.before_declare_actor(broker, actor)
