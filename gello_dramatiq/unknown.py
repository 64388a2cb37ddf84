"""What becomes of a job whose name no definition here has."""

from __future__ import annotations

import logging
from datetime import timedelta

from dramatiq.common import current_millis

from . import envelope
from .claim import Claim
from .durations import spell
from .errors import JobUnknown
from .outcome import Kind, Outcome, Reason

log = logging.getLogger("gello.worker")

WAIT = timedelta(seconds=30)
"""Between two tries: in a rolling deploy, another worker may know it."""
LIMIT = timedelta(hours=1)
"""How long it is tried."""


def unknown_job(claim: Claim) -> Outcome:
    """Give it back, for an hour; then set it aside."""
    progress = envelope.progress(claim.options, claim.deaths)
    now = current_millis()
    progress.unknown_since = progress.unknown_since or now
    if now - progress.unknown_since < envelope.millis(LIMIT):
        log.warning("No job is called %r here; %s goes back for %s.", claim.actor_name, claim.message_id, spell(WAIT))
        return Outcome(Kind.RELEASED, WAIT, progress=progress)
    reason = JobUnknown(f"No worker knew a job called {claim.actor_name!r} for {spell(LIMIT)}.")
    return Outcome(Kind.FAILED, error=reason, reason=Reason.UNKNOWN_JOB, progress=progress)
