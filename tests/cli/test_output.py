"""Whatever stdout is, and whatever jobs say: nothing crashes, and nothing steers a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gello_dramatiq.cli.output import visible

from .conftest import Ended, Project

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


@pytest.fixture
def colourful(project: Project) -> Project:
    """Its job's error holds letters, an escape sequence and a bell."""
    path = project.folder / f"{project.app}.py"
    path.write_text(path.read_text().replace("[bold]no mail server[/bold]", r"gr\u00fcn \x1b[32mgreen\x07"))
    return project


@pytest.fixture
def failing(colourful: Project, gello: Callable[..., Ended]) -> Callable[..., Ended]:
    gello("push", "send_welcome_email", "user_id=13", "email=a@b.c")
    assert gello("work", "--stop-when-empty").code == 0
    return gello


def test_control_characters_of_an_error_are_shown_not_obeyed(failing: Callable[..., Ended]) -> None:
    [job] = json.loads(failing("failed", "--json").out)
    shown = failing("failed", job["id"]).out
    assert shown.endswith("ConnectionRefusedError: grün \\x1b[32mgreen\\x07\n")
    assert "\x1b" not in shown


@pytest.mark.parametrize("text", ["a\tb\nc", "Ärger → 日本 🎉"])
def test_what_a_terminal_only_shows_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_change_of_direction_is_shown() -> None:
    assert visible("a\u202eb") == r"a\u202eb"


def test_an_output_that_cannot_encode_a_letter_shows_its_escape(
    failing: Callable[..., Ended], project: Project
) -> None:
    table = project.run("failed", **ASCII)
    data = project.run("failed", "--json", **ASCII)
    assert (table.code, data.code, table.err + data.err) == (0, 0, "")
    assert r"gr\xfcn" in table.out
    assert "grün" in json.loads(data.out)[0]["exception"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("command", [["jobs"], ["jobs", "--json"], ["--help"]], ids=" ".join)
def test_a_full_disk_is_said_in_one_line(project: Project, command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "gello_dramatiq", *command],
            cwd=project.folder, env=project.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert ended.stderr == "gello: the output can't be written: No space left on device.\n"
    assert ended.returncode == 1


@pytest.mark.parametrize("command", [["jobs"], ["jobs", "--json"]], ids=" ".join)
def test_a_reader_that_has_enough_is_no_error(project: Project, command: list[str]) -> None:
    with project.start(*command) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stdout = None
