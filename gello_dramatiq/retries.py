"""Decides what an attempt came to. It never acts where a broker of ours can: `settle` does."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from dramatiq import Broker
from dramatiq.middleware import Retries

from . import envelope
from .actor import JobActor, Runner, age
from .backoff import Constant
from .claim import Claim
from .durations import spell
from .errors import JobEnded
from .options import DEFAULT_RETRY_AFTER
from .outcome import DONE, Kind, Limits, Outcome, Progress, Reason, decide, describe

log = logging.getLogger("gello.jobs")


class JobRetries(Retries):
    """Decides outcomes for Gello's actors, and does for stock actors what Dramatiq's `Retries` does.

    On a broker of ours the outcome is put on the claim, and settling performs it. On a handed stock broker a retry is
    an enqueue before the ack, guarded: if it fails, the message is rejected and kept as failed, never acked.

    Parameters:
      runner: What the app's attempts share.
      **stock: Dramatiq's own settings, for stock actors.
    """

    def __init__(self, runner: Runner, **stock: Any) -> None:
        super().__init__(**stock)
        self.runner = runner

    def before_process_message(self, broker: Broker, message: Any) -> None:
        runner = self.runner
        runner.message = message
        runner.began = time.monotonic()
        message.started = True

    def after_process_message(
        self, broker: Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        runner = self.runner
        runner.message = None
        actor = broker.actors.get(message.actor_name)
        ours = isinstance(actor, JobActor)
        if exception is None:
            message.outcome = DONE
            if ours and log.isEnabledFor(logging.INFO):
                took = time.monotonic() - runner.began
                facts = _facts(message, Kind.DONE, took)
                log.info("%s %s done in %.3gs", message.actor_name, message.message_id, took, extra=facts)
        elif isinstance(actor, JobActor):
            self._decide(broker, actor, message, exception)
        else:
            self._stock(broker, message, exception)

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        self.runner.message = None

    def _decide(self, broker: Broker, actor: JobActor, message: Any, error: BaseException) -> None:
        took = time.monotonic() - self.runner.began
        started_at = int((time.time() - took) * 1000)
        progress, limits = self._state(actor, message)
        try:
            outcome = decide(error, progress, limits, lambda: age(message), started_at, took)
        except Exception:
            log.exception(
                "%s: its backoff raised an error; %s is taken instead.", actor.actor_name, spell(DEFAULT_RETRY_AFTER)
            )
            limits = replace(limits, backoff=Constant(DEFAULT_RETRY_AFTER))
            outcome = decide(error, progress, limits, lambda: age(message), started_at, took)
        if not isinstance(message, Claim):
            outcome = self._perform(broker, message, outcome)
        message.outcome = outcome
        if outcome.kind is Kind.FAILED:
            message.fail()
        _tell(message, progress, limits, outcome, took)

    def _state(self, actor: JobActor, message: Any) -> tuple[Progress, Limits]:
        """What is known of a message; nothing, if what it says is no sense: an error here would lose it."""
        try:
            envelope.check(message.options)
            return envelope.progress(message.options, getattr(message, "deaths", 0)), actor.limits_of(message)
        except (TypeError, ValueError, OverflowError, AttributeError):
            message.options.pop(envelope.OPTION, None)
            return Progress(), actor.limits

    def _perform(self, broker: Broker, message: Any, outcome: Outcome) -> Outcome:
        """Put a job back on a stock broker; if that fails, the job has failed."""
        if outcome.kind is Kind.FAILED:
            return outcome
        options = envelope.remember(message.options, outcome.progress or Progress())
        try:
            # Not copy(options=…), which merges: what the message has forgotten must be gone.
            back = replace(message.copy(), options=options)
            broker.enqueue(back, delay=envelope.millis(outcome.delay) or None)
        except Exception as error:
            log.exception("%s %s can't be put back.", message.actor_name, message.message_id)
            return Outcome(Kind.FAILED, error=outcome.error or error, reason=Reason.ERROR, progress=outcome.progress)
        return outcome

    def _stock(self, broker: Broker, message: Any, error: BaseException) -> None:
        # If the re-enqueue fails, this raises, and the message has an error and no outcome: it is given back.
        super().after_process_message(broker, message, exception=error)  # type: ignore[no-untyped-call]  # Dramatiq leaves it untyped
        message.outcome = Outcome(Kind.FAILED, error=error, reason=Reason.ERROR) if message.failed else DONE


def _tell(message: Any, progress: Progress, limits: Limits, outcome: Outcome, took: float) -> None:
    """Say in one line what became of a job."""
    name = f"{message.actor_name} {message.message_id}"
    ran = not isinstance(outcome.error, JobEnded)
    number = f"attempt {progress.spent + ran}" + (f" of {limits.max_attempts}" if limits.max_attempts else "")
    why = describe(outcome.error) if outcome.error else ""
    facts = _facts(message, outcome.kind, took)
    match outcome.kind:
        case Kind.RELEASED:
            said = why.partition(": ")[2]
            released = f"released: {said};" if said else "released,"
            log.info("%s %s runs again in %s", name, released, spell(outcome.delay), extra=facts)
        case Kind.RETRIED:
            log.warning("%s %s: %s; runs again in %s", name, number, why, spell(outcome.delay), extra=facts)
        case _:
            when = f"on {number}" if ran else f"after {number}"
            log.error("%s failed %s (%s): %s", name, when, outcome.reason, why, extra=facts)


def _facts(message: Any, kind: Kind, took: float) -> dict[str, Any]:
    """The same for programs: what a JSON log carries beside its line."""
    job = {"event": kind.value, "job": message.actor_name, "id": message.message_id, "queue": message.queue_name}
    return {"gello": {**job, "seconds": round(took, 6)}}
