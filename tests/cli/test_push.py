from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from gello_dramatiq import Queueable, queueable
from gello_dramatiq.cli.words import pending

from .conftest import Ended, Project


def test_a_pushed_job_waits_in_its_queue(gello: Callable[..., Ended]) -> None:
    ended = gello("push", "send_welcome_email", "user_id=7", "email=a@b.c")
    assert ended.code == 0
    assert ended.out.startswith("send_welcome_email was pushed to emails: ")
    queues = {each["queue"]: each for each in json.loads(gello("status", "--json").out)["queues"]}
    assert queues["emails"] == {"queue": "emails", "ready": 1, "delayed": 0, "reserved": 0}


def test_push_says_as_json_what_it_pushed(gello: Callable[..., Ended]) -> None:
    pushed = json.loads(
        gello("push", "ProcessReport", '{"report_id": 3}', "--queue", "high", "--priority", "5", "--json").out
    )
    assert pushed["payload"] == {"report_id": 3}
    assert (pushed["queue"], pushed["priority"], pushed["delay"]) == ("high", 5, None)


def test_a_delayed_push_waits(gello: Callable[..., Ended]) -> None:
    assert "to run in 1h30m" in gello("push", "ProcessReport", "report_id=3", "--delay", "1h30m").out
    assert json.loads(gello("status", "--json").out)["queues"][-1]["delayed"] == 1


def test_a_payload_may_come_from_stdin(gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"report_id": 4}'))
    assert json.loads(gello("push", "ProcessReport", "-", "--json").out)["payload"] == {"report_id": 4}


def test_a_job_on_a_memory_queue_would_be_lost(gello: Callable[..., Ended], project: Project) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('memory://')\n")
    ended = gello("push", "--app", "held:gello", "ProcessReport", "report_id=1")
    assert ended.code == 4
    assert "A memory queue lives in one process" in ended.err


def test_a_sync_queue_runs_the_job_at_once(gello: Callable[..., Ended], project: Project) -> None:
    (project.folder / "held.py").write_text(f"from {project.jobs} import *\ngello = Gello('sync://')\n")
    good = gello("push", "--app", "held:gello", "send_welcome_email", "user_id=1", "email=a@b.c")
    bad = gello("push", "--app", "held:gello", "send_welcome_email", "user_id=13", "email=a@b.c")
    assert (good.code, bad.code) == (0, 1)
    assert "ran at once (sync://) and failed: ConnectionRefusedError" in bad.err


@queueable
def takes(text: str = "", number: int = 0, flag: bool = False, many: list[int] = [], either: str | int = 0,  # noqa: B006
          maybe: float | None = 0.5, anything: Any = None, data: bytes = b"") -> None:  # fmt: skip
    pass


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=7", "7"),
        ("text=", ""),
        ("text=a=b", "a=b"),
        ("number=7", 7),
        ("number= 7", 7),
        ("flag=true", True),
        ("flag=yes", True),
        ("many=[1,2]", [1, 2]),
        ("either=7", "7"),
        ("maybe=null", None),
        ("maybe=1.5", 1.5),
        ('anything={"a": [1]}', {"a": [1]}),
        ("anything=hello", "hello"),
        ("data=aGVsbG8=", "aGVsbG8="),
    ],
)
def test_a_word_is_read_as_its_field_takes_it(word: str, value: Any) -> None:
    assert pending(takes.definition, [word]).payload == {word.partition("=")[0]: value}


class Dated(Queueable):
    model_config = ConfigDict(strict=True)
    day: date

    def handle(self) -> None: ...


class Address(BaseModel):
    city: str


class Deliver(Queueable):
    address: Address

    def handle(self) -> None: ...


def test_a_strict_class_takes_what_travels_as_text() -> None:
    assert pending(Dated.definition, ["day=2026-01-31"]).payload == {"day": "2026-01-31"}


def test_a_nested_payload_is_read_as_json() -> None:
    assert pending(Deliver.definition, ['address={"city": "Graz"}']).payload == {"address": {"city": "Graz"}}
