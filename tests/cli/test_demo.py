from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gello_dramatiq.cli import demo

from .conftest import Ended


def test_the_built_in_demo_pushes_works_fails_and_retries(
    gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    ended = gello("demo")
    assert ended.code == 0
    assert ended.out.count("done in") == 4
    assert "ChargeCard" in ended.out
    assert "failed on attempt 2 of 2 (error): ConnectionError" in ended.out
    assert ended.out.endswith("Failed jobs left: 0.\n")


def test_the_built_in_demo_tells_its_result_as_json_and_nothing_else(
    gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    told = json.loads(gello("demo", "--json").out)
    assert told == {"pushed": 4, "failed": ["ChargeCard"], "retried": 1, "left": 0}


def test_in_a_checkout_the_mailer_is_the_demo(gello: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    class Run:
        returncode = 7

    def run(command: list[str], **options: object) -> Run:
        commands.append(command)
        return Run()

    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(demo, "find_spec", lambda name: name)
    assert gello("demo").code == 7
    assert gello("demo", "--json").code == 7
    assert [command[1:] for command in commands] == [["-m", "examples.mailer"], ["-m", "examples.mailer", "--json"]]
