"""The app: wires a broker, a database and definitions. It has no logic of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dramatiq import Broker, Message
from dramatiq.middleware import Retries

from . import current
from .actor import JobActor, Runner
from .broker import GelloBroker
from .brokers.memory import MemoryBroker
from .brokers.sync import SyncBroker
from .deadline import Watchdog, calm
from .definition import Definition
from .errors import InvalidSetting, Unsupported
from .failed_jobs.failed_jobs import FailedJobs
from .failed_jobs.keep import KeepFailedJobs
from .failed_jobs.memory import MemoryFailedJobs
from .failed_jobs.record import FailedJob, FailedJobStore, record
from .feed import FeedWorkers
from .forks import forget_in_children
from .limits import WorkerLimits
from .loop import LoopThread
from .masking import mask
from .options import Options, read_options
from .queue import Queue
from .registry import Registry
from .retries import JobRetries
from .settings import NETWORK, Settings, read_settings, refuse_unknown
from .stock import WarnOfPriorities
from .worker import Worker, WorkerOptions

log = logging.getLogger("gello.worker")


class Gello:
    """An app: where jobs go, where failures are kept, and which jobs there are.

    Nothing is opened before it is used. The first app of a process is the default one, which `job.push()` finds.

    Parameters:
      url: Where jobs go: "sqlite:///gello.db", "memory://", "sync://". Settings decide when it is left out.
      database: Where failed jobs are kept; the broker's own database when it is one.
      modules: Modules and packages whose jobs the app knows.
      jobs: Jobs that it knows besides.
      broker: A Dramatiq broker of yours, instead of a URL; stock ones keep their stock guarantees.
      default: Make it the default app although there is one.
      **settings: See `Settings`.

    Raises:
      InvalidSetting: Something can't be used; the message says what and how to mend it.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        database: str | None = None,
        modules: Iterable[str] = (),
        jobs: Iterable[Any] = (),
        broker: Broker | None = None,
        default: bool = False,
        **settings: Any,
    ) -> None:
        self.settings = read_settings(url=url, database=database, **settings)
        self.jobs = Registry()
        self._admitting = threading.Lock()
        forget_in_children(self)
        self.database = _database(self.settings, broker)
        self._store = self._failed_job_store()
        self.broker = broker or self._broker()
        self.queue = Queue(
            self.broker,
            self.admit,
            default_queue=self.settings.default_queue,
            max_payload=self.settings.max_payload,
        )
        self._runner = Runner(self.queue, Watchdog(), LoopThread())
        self._limits = self._settings_limits()
        self.failed = FailedJobs(self._store, self._push_again, self._requeue_in_one())
        self._install_middleware()
        for module in (*self.settings.modules, *([modules] if isinstance(modules, str) else modules)):
            self.jobs.collect(module)
        for job in jobs:
            self.jobs.register(job)
        self.compile()
        if default or current.default() is None:
            current.set_default(self.queue)

    @classmethod
    def from_env(cls, **arguments: Any) -> Gello:
        """An app from the environment, gello.toml or pyproject.toml."""
        return cls(**arguments)

    def collect(self, module: Any) -> None:
        """Know the jobs of one more module."""
        self.jobs.collect(module)
        self.compile()

    def admit(self, job: Any) -> Definition:
        """Know a job, and make its broker know it."""
        if isinstance(job, Definition) and self._knows(job):
            return job
        definition = self.jobs.register(job)
        if not self._knows(definition):
            # Two threads that push a new job at once would declare it twice, which Dramatiq refuses.
            with calm(), self._admitting:
                if not self._knows(definition):
                    JobActor(definition, self.broker, self._runner, self._limits)
        return definition

    def compile(self) -> None:
        """Make the broker know every job that the app knows."""
        for definition in self.jobs.list():
            self.admit(definition)

    def worker(self, **options: Any) -> Worker:
        """A worker of this app in this process; see `WorkerOptions`.

        Raises:
          InvalidSetting: There is no such option, or it can't be used.
        """
        refuse_unknown("worker(…)", options, [each.name for each in fields(WorkerOptions)])
        self.compile()
        self._warn_of_a_memory_of_one_machine()
        return Worker(self.broker, WorkerOptions(**options))

    def using(self) -> Any:
        """Make it the current app of a context: `with gello.using(): …`."""
        return current.using(self.queue)

    def within(self, transaction: Any) -> Any:
        """Make pushes part of a transaction: `with gello.within(session): send.push(…)`; see `Queue.within`."""
        return current.using(self.queue.within(transaction))

    def close(self) -> None:
        """Close the connections and helper threads; an app that is used again opens them again."""
        self.broker.close()
        self._runner.watchdog.stop()
        self._runner.loop.stop()
        if self.database is not None:
            self.database.close()
        if current.default() is self.queue:
            current.set_default(None)

    def after_fork(self) -> None:
        """Admit with a lock of this process."""
        self._admitting = threading.Lock()

    def _warn_of_a_memory_of_one_machine(self) -> None:
        shared = self.settings.broker_url.partition(":")[0] in NETWORK
        if shared and not self.settings.single_host and getattr(self.database, "dialect", None) == "sqlite":
            log.warning(
                "%s is reached from many machines, and failed jobs are kept in %s, on this one alone. Name a database "
                "that all can reach (DATABASE_URL), or say that there is one machine (QUEUE_SINGLE_HOST=true).",
                getattr(self.broker, "shown", "The broker"), self.database.shown,
            )  # fmt: skip

    def _knows(self, definition: Definition) -> bool:
        actor = self.broker.actors.get(definition.name)
        return isinstance(actor, JobActor) and actor.definition is definition

    def _broker(self) -> GelloBroker:
        url = self.settings.broker_url
        scheme, query = url.partition(":")[0], dict(parse_qsl(urlsplit(url).query))
        if scheme == "memory":
            return MemoryBroker()
        if scheme == "sync":
            sleep: Any = query.get("sleep", "later")
            if sleep not in ("none", "later", "all"):
                raise InvalidSetting(f"{url}: sleep is none, later or all.")
            return SyncBroker(sleep=sleep)
        if scheme in ("redis", "rediss"):
            return _redis(self.settings, url)
        if scheme in NETWORK:
            raise Unsupported(
                f"{scheme}:// comes in a later version; use sqlite:///gello.db, redis://, memory:// or sync:// for now."
            )
        from .brokers.database.broker import DatabaseBroker

        if self.database is not None and self.database.is_at(url):
            return DatabaseBroker(self.database, lease=self.settings.lease)
        return DatabaseBroker(_open(self.settings, url), lease=self.settings.lease, writes_failures=False)

    def _failed_job_store(self) -> FailedJobStore:
        if self.database is None:
            return MemoryFailedJobs()
        from .failed_jobs.sql import SqlFailedJobs

        return SqlFailedJobs(self.database)

    def _install_middleware(self) -> None:
        retries = JobRetries(self._runner)
        broker = self.broker
        stock = [middleware for middleware in broker.middleware if type(middleware) is Retries]
        for middleware in stock:
            # In its place: beside it, both would act on every failure.
            retries = JobRetries(
                self._runner,
                max_retries=middleware.max_retries,
                min_backoff=middleware.min_backoff,
                max_backoff=middleware.max_backoff,
                retry_when=middleware.retry_when,
            )
            broker.middleware[broker.middleware.index(middleware)] = retries
        if not stock:
            broker.add_middleware(retries)
        if isinstance(broker, SyncBroker):
            broker.keep, broker.after_failure = self._keep, self._after_failure
            broker.after_success = self.failed.succeeded
        elif isinstance(broker, GelloBroker):
            broker.add_middleware(FeedWorkers(self._keep, self._after_failure))
        else:
            broker.add_middleware(KeepFailedJobs(self._store), before=JobRetries)
            broker.add_middleware(WarnOfPriorities())
        broker.add_middleware(WorkerLimits())

    def _settings_limits(self) -> Options:
        said = {
            "max_attempts": self.settings.max_tries,
            "timeout": self.settings.timeout,
            "retry_after": self.settings.retry_after,
        }
        return read_options("settings", {**said, "queue": self.settings.default_queue})

    def _keep(self, message: Any) -> None:
        self._store.add(record(message))

    def _after_failure(self, message: Any) -> None:
        actor = self.broker.actors.get(message.actor_name)
        error = message.outcome.error if message.outcome else None
        if isinstance(actor, JobActor) and error is not None:
            actor.on_failure(message, error)

    def _push_again(self, message: Message[Any]) -> None:
        self.broker.declare_queue(message.queue_name)
        self.broker.enqueue(message)

    def _requeue_in_one(self) -> Callable[[FailedJob, Message[Any]], bool] | None:
        # The database broker is known by what it can do, so that other brokers don't load SQLAlchemy.
        return getattr(self.broker, "requeue", None) if getattr(self.broker, "writes_failures", False) else None


def _redis(settings: Settings, url: str) -> GelloBroker:
    try:
        from .brokers.redis.broker import RedisBroker
    except ImportError as error:
        raise InvalidSetting(f"{mask(url)}: {error}; install it: pip install 'gello-dramatiq[redis]'.") from None
    return RedisBroker(url, namespace=settings.prefix.rstrip(":"), lease=settings.lease)


def _database(settings: Settings, broker: Broker | None) -> Any:
    own = getattr(broker, "database", None)
    if own is not None:
        return own
    url = settings.database if broker is not None else settings.database_url
    return None if url is None else _open(settings, url)


def _open(settings: Settings, url: str) -> Any:
    from .database.engine import Database

    return Database(
        url,
        prefix=settings.table_prefix,
        schema=settings.table_schema,
        synchronous=settings.sqlite_synchronous,
    )
