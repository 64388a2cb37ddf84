"""The mailer's jobs, as you would write them: this file opens nothing and knows no broker."""

from __future__ import annotations

import logging
import smtplib
from email.message import EmailMessage

from pydantic import EmailStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from gello_dramatiq import Fail, Queueable, Retry, backoff, queueable

log = logging.getLogger(__name__)


class MailSettings(BaseSettings):
    """Where mails go and whom they are from: MAILER_HOST, MAILER_PORT and MAILER_SENDER."""

    model_config = SettingsConfigDict(env_prefix="MAILER_")

    host: str = "localhost"
    port: int = 25
    sender: str = "hello@example.com"


@queueable(queue="emails", max_attempts=3, backoff=["1s", "2s"], timeout="10s")
def send_welcome_email(user_id: int, email: EmailStr, name: str) -> None:
    """Welcome a new user."""
    send(f"welcome-{user_id}", email, f"Welcome, {name}!", f"Dear {name},\n\nyour account is ready.\n")


@send_welcome_email.on_failure
def note_missing_welcome(error: BaseException, user_id: int, email: EmailStr, name: str) -> None:
    """Runs once, after the job is kept as failed."""
    log.warning("User %d has no welcome mail: %s", user_id, error)


class SendReport(Queueable, queue="reports", max_attempts=5, backoff=backoff.exponential("1s", max="1m")):
    """Tell the team how it went. A job as a class: its fields are the payload."""

    to: EmailStr
    delivered: int
    failed: int

    def handle(self) -> None:
        subject = f"Welcome mails: {self.delivered} delivered, {self.failed} failed"
        send("report", self.to, subject, "`gello failed` lists those that failed, with their reasons.\n")


def send(message_id: str, to: str, subject: str, text: str) -> None:
    """Send one mail. Sent again, it has the same Message-ID, so that its receiver can tell.

    Raises:
      Fail: The server refuses the address for good.
      Retry: It can't take the mail now.
    """
    settings = MailSettings()
    mail = EmailMessage()
    mail["Message-ID"] = f"<{message_id}@mailer.example.com>"
    mail["From"], mail["To"], mail["Subject"] = settings.sender, to, subject
    mail.set_content(text)
    try:
        # Named, because smtplib would ask the DNS for this machine's name, which can take seconds.
        with smtplib.SMTP(settings.host, settings.port, local_hostname="localhost", timeout=5) as server:
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        [(code, reason)] = refused.recipients.values()
        answer = f"{code} {reason.decode()}"
        if code >= 500:
            raise Fail(answer) from None
        raise Retry(message=answer) from None
