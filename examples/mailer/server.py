"""A mail server with moods, on this machine: it counts what it takes, and refuses some addresses as real ones do."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from typing import Any

from aiosmtpd.controller import Controller

HOST = "127.0.0.1"
SECONDS_PER_MAIL = 0.07
"""What a real server needs to look at a mail and store it."""

GREYLISTED = {"slow.example.net": 1, "slower.example.net": 2}
"""Domains whose mail is put off, and how often for each address."""
DOWN = "down.example.org"
"""A domain that takes no mail while the outage lasts."""
GONE = "gone.example.com"
"""A domain where nobody lives any more."""

TRY_LATER = "451 4.7.1 Greylisted, try again later"
OUTAGE = "451 4.3.2 The mailbox server is down"
NO_MAILBOX = "550 5.1.1 No such mailbox"


class MailServer:
    """Takes mails, and remembers which. Its methods with SMTP verbs are called by aiosmtpd, in a thread of its own.

    Attributes:
      outage: Whether one of its domains is down.
      inbox: How often each Message-ID was taken.
      refusals: How often each address was refused.
      late: The Message-IDs that were taken after their address had been refused.
      subjects: The newest subject of each Message-ID.
    """

    def __init__(self) -> None:
        self.outage = True
        self.inbox: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.late: set[str] = set()
        self.subjects: dict[str, str] = {}

    def welcomed(self) -> dict[int, int]:
        """How often each user's welcome mail was taken."""
        taken = self.inbox.copy()
        prefix = "welcome-"
        return {int(name.removeprefix(prefix)): times for name, times in taken.items() if name.startswith(prefix)}

    def answer(self, address: str) -> str | None:
        """Why an address is refused just now; None if it isn't."""
        domain = address.rpartition("@")[2]
        if domain == GONE:
            return NO_MAILBOX
        if domain == DOWN and self.outage:
            return OUTAGE
        if self.refusals[address] < GREYLISTED.get(domain, 0):
            return TRY_LATER
        return None

    async def handle_RCPT(  # noqa: N802, RUF100 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        refused = self.answer(address)
        if refused is not None:
            self.refusals[address] += 1
            return refused
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, RUF100 (aiosmtpd's name)
        mail = message_from_bytes(envelope.content)
        name = str(mail["Message-ID"]).strip("<>").partition("@")[0]
        self.inbox[name] += 1
        self.subjects[name] = str(mail["Subject"])
        if any(self.refusals[address] for address in envelope.rcpt_tos):
            self.late.add(name)
        # Stored before it is answered: who dies while waiting doesn't know that the mail was taken.
        await asyncio.sleep(SECONDS_PER_MAIL)
        return "250 OK"


@contextmanager
def serving(server: MailServer) -> Iterator[int]:
    """Serve on a free port of this machine, in a thread; gives the port.

    Raises:
      OSError: There is none.
    """
    port = _free_port()
    # Named, because aiosmtpd would ask the DNS for this machine's name at each connection.
    controller = Controller(server, hostname=HOST, port=port, server_hostname="localhost")
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port
