"""The demo's jobs, against its mail server: what a user's own test of such jobs could look like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from examples.mailer import jobs
from examples.mailer.server import GREYLISTED, HOST, NO_MAILBOX, OUTAGE, TRY_LATER, MailServer, serving
from gello_dramatiq import Fail, Gello, InvalidPayload, Retry


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    server = MailServer()
    with serving(server) as port:
        monkeypatch.setenv("MAILER_HOST", HOST)
        monkeypatch.setenv("MAILER_PORT", str(port))
        yield server


@pytest.fixture
def gello() -> Iterator[Gello]:
    gello = Gello("sync://", modules=["examples.mailer.jobs"])
    with gello.using():
        yield gello
    gello.close()


def test_a_mail_arrives_with_the_users_id_in_its_message_id(server: MailServer) -> None:
    jobs.send_welcome_email(7, "ann@example.com", "Ann")
    assert server.welcomed() == {7: 1}
    assert server.subjects == {"welcome-7": "Welcome, Ann!"}


def test_the_server_counts_what_it_takes_twice(server: MailServer) -> None:
    for _ in range(2):
        jobs.send_welcome_email(7, "ann@example.com", "Ann")
    assert server.welcomed() == {7: 2}


def test_an_address_that_is_refused_for_good_ends_the_job(server: MailServer) -> None:
    with pytest.raises(Fail, match=NO_MAILBOX):
        jobs.send_welcome_email(7, "ann@gone.example.com", "Ann")


def test_an_outage_puts_the_job_off_until_it_is_over(server: MailServer) -> None:
    with pytest.raises(Retry, match=OUTAGE):
        jobs.send_welcome_email(7, "ann@down.example.org", "Ann")
    server.outage = False
    jobs.send_welcome_email(7, "ann@down.example.org", "Ann")
    assert server.welcomed() == {7: 1}
    assert server.late == {"welcome-7"}


@pytest.mark.parametrize("domain", GREYLISTED)
def test_a_greylisted_address_is_put_off_as_often_as_its_domain_says(server: MailServer, domain: str) -> None:
    for _ in range(GREYLISTED[domain]):
        with pytest.raises(Retry, match=TRY_LATER):
            jobs.send_welcome_email(7, f"ann@{domain}", "Ann")
    jobs.send_welcome_email(7, f"ann@{domain}", "Ann")
    assert server.welcomed() == {7: 1}


def test_through_a_queue_the_failed_mail_is_kept_and_the_hook_says_so(
    server: MailServer, gello: Gello, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Fail):
        jobs.send_welcome_email.push(user_id=7, email="ann@gone.example.com", name="Ann")
    [failed] = gello.failed.all()
    assert failed.payload == {"user_id": 7, "email": "ann@gone.example.com", "name": "Ann"}
    assert f"User 7 has no welcome mail: {NO_MAILBOX}" in caplog.messages


def test_the_report_is_a_class_and_arrives(server: MailServer, gello: Gello) -> None:
    jobs.SendReport(to="team@example.com", delivered=5, failed=1).push()
    assert server.subjects["report"] == "Welcome mails: 5 delivered, 1 failed"


def test_a_bad_row_is_refused_at_push(gello: Gello) -> None:
    row: dict[str, Any] = {"user_id": "seven", "email": "ann@example.com", "name": "Ann"}
    with pytest.raises(InvalidPayload, match="user_id"):
        jobs.send_welcome_email.push(**row)
