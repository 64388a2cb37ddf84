"""A claim: a worker's right to one job, as a message that Dramatiq's threads can work on."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.encoder import JSONEncoder
from dramatiq.message import get_encoder
from pydantic_core import from_json

from . import envelope
from .errors import JobUnloadable
from .job import new_job_id
from .outcome import Kind, Outcome, Reason

_FIELDS = ("actor_name", "message_id", "args", "kwargs", "options", "message_timestamp")
_YEAR_10000 = 253_402_300_800_000


class Claim(MessageProxy):
    """A worker's right to one job: the message, and the number that settling it must match.

    It is its own work item, so that no wrapper is made for each job.

    Attributes:
      key: What the broker knows the job by.
      lease: Rises with each claim, release and rescue; a settle with an old one changes nothing.
      deaths: How many workers died while they were known to run this job.
      suspect: Whether a worker was lost that held it: from then on its start is marked before it runs.
      raw: The message as it lies in the broker.
      started: Set by the thread that begins to run it.
      lost: Set when it turned out not to be this worker's any more.
      settled: Set once an outcome is on its way, so that a second ack changes nothing.
      kept: Set once the row of the failed job is written: by settling, or before it.
      outcome: What the attempt came to.
    """

    def __init__(
        self, key: Any, lease: int, raw: bytes, queue: str, job_id: str = "", deaths: int = 0, suspect: int = 0
    ) -> None:
        self.key = key
        self.queue_name = queue
        self.message_id = job_id
        self.lease = lease
        self.raw = raw
        self.deaths = deaths
        self.suspect = bool(suspect)
        self.failed = self.started = self.lost = self.settled = self.kept = False
        self._open = [None]
        self.outcome: Outcome | None = None
        self._exception: BaseException | None = None
        self._decode(raw)

    def _decode(self, raw: bytes) -> None:
        try:
            fields = decode(raw)
            name, job_id, args, kwargs, options, pushed = map(fields.__getitem__, _FIELDS)
            if type(name) is not str or type(job_id) is not str or "\0" in (both := name + job_id):
                raise TypeError("actor_name or message_id is no text")
            both.encode()  # no database takes half a surrogate pair
            self.message_id = job_id
            if not isinstance(args, list | tuple):  # a tuple is what pickle makes of it
                raise TypeError("args is no list")
            if type(kwargs) is not dict or type(options) is not dict:
                raise TypeError("kwargs or options is no object")
            if type(pushed) is not int or not 0 <= pushed < _YEAR_10000:
                raise ValueError("message_timestamp is no moment")
            if options:
                envelope.check(options)
            self.actor_name: str = name
            self.args = tuple(args)
            self.kwargs: dict[str, Any] = kwargs
            self.options: dict[str, Any] = options
            self.message_timestamp: int = pushed
        except Exception as error:  # noqa: BLE001 (whatever is wrong with one message, its batch must not be stranded)
            self._bury(error)

    def _bury(self, error: Exception) -> None:
        self.actor_name, self.args, self.kwargs, self.options = "", (), {}, {}
        self.message_id, self.message_timestamp = self.message_id or new_job_id(), 0
        reason = JobUnloadable(
            f"The message can't be decoded ({type(error).__name__}: {error}); its raw bytes are kept."
        )
        self.outcome = Outcome(Kind.FAILED, error=reason, reason=Reason.INVALID_PAYLOAD)

    def end(self) -> bool:
        """Take the right to say what it came to: True for the first who asks. Popping a list is atomic."""
        try:
            self._open.pop()
        except IndexError:
            return False
        self.settled = True
        return True

    @cached_property
    def generation(self) -> str:
        """Names its failure: the same one however often that is written, as an answer may be lost."""
        return new_job_id()

    @property
    def message(self) -> Claim:
        return self

    @property
    def _message(self) -> Message[Any]:  # type: ignore[override]  # built when a stock hook asks for it
        return Message(
            queue_name=self.queue_name,
            actor_name=self.actor_name,
            args=self.args,
            kwargs=self.kwargs,
            options=self.options,
            message_id=self.message_id,
            message_timestamp=self.message_timestamp,
        )

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def remembering(self) -> bytes:
        """The message as it goes back to the broker: with what it now remembers of its attempts."""
        if self.outcome is None or self.outcome.progress is None:
            return self.raw
        return self._message.copy(options=envelope.remember(self.options, self.outcome.progress)).encode()


def decode(raw: bytes) -> dict[str, Any]:
    """The fields of a message, as its encoder reads them."""
    encoder = get_encoder()
    if type(encoder) is JSONEncoder:
        try:
            # The same values in a third of the time; it refuses some that json takes, such as half a surrogate pair.
            fields: dict[str, Any] = from_json(raw)
            return fields
        except ValueError:
            pass
    return encoder.decode(raw)
