from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq import Queueable, Registry, queueable
from gello_dramatiq.errors import DuplicateJob, ImportFailed, InvalidDefinition, UnknownJob

JOB = "from gello_dramatiq import queueable, Queueable\n"
names = (f"registered_{number}" for number in itertools.count())

Write = Callable[[dict[str, str]], str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: dict[str, str]) -> str:
        name = next(names)
        for path, text in files.items():
            file = tmp_path / name / path if path else tmp_path / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("ROOT", name))
        return name

    return write


def collected(*modules: str) -> list[str]:
    registry = Registry()
    for module in modules:
        registry.collect(module)
    return [*registry.names()]


@queueable
def send(number: int) -> int:
    return number * 2


class Report(Queueable):
    number: int

    def handle(self) -> int:
        return self.number


def test_a_job_is_found_by_its_name() -> None:
    registry = Registry()
    registry.register(send)
    registry.register(Report)
    assert registry.get("send") is send.definition
    assert registry.list() == [Report.definition, send.definition]
    assert registry.names() == ["Report", "send"]


def test_registering_a_job_again_changes_nothing() -> None:
    registry = Registry()
    assert registry.register(send) is registry.register(send) is registry.register(send.definition)
    assert registry.names() == ["send"]


def test_two_jobs_of_one_name_are_refused_and_both_places_named() -> None:
    @queueable(name="send")
    def other() -> None: ...

    registry = Registry()
    registry.register(send)
    with pytest.raises(DuplicateJob) as refused:
        registry.register(other)
    assert f"{__name__}.send and {__name__}.test_two_jobs" in str(refused.value)
    assert 'Give one of them another name: @queueable(name="…")' in str(refused.value)
    assert registry.get("send") is send.definition


def test_what_is_no_job_cant_be_registered() -> None:
    with pytest.raises(InvalidDefinition, match="is no job: decorate a function"):
        Registry().register(print)


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    registry = Registry()
    with pytest.raises(UnknownJob, match=r"No job is called 'send'; known are: none\."):
        registry.get("send")
    registry.register(send)
    with pytest.raises(UnknownJob, match=r"No job is called 'sned'; did you mean 'send'\?"):
        registry.get("sned")
    with pytest.raises(UnknownJob, match=r"known are: send\."):
        registry.get("archive")


def test_a_type_that_is_never_defined_is_told_when_its_job_is_registered() -> None:
    def carry(value: Any) -> None: ...

    carry.__annotations__ = {"value": "Nowhere"}
    with pytest.raises(InvalidDefinition, match="carry: name 'Nowhere' is not defined"):
        Registry().register(queueable(carry))


def test_a_module_gives_the_jobs_it_defines_and_imports(package: Write) -> None:
    other = package({"": JOB + "@queueable\ndef theirs(): ...\n"})
    module = package(
        {
            "": JOB + f"from {other} import theirs\n"
            "@queueable\ndef mine(): ...\n"
            "class Mine(Queueable):\n    def handle(self): ...\n"
            "class Base(Queueable): ...\n"
            "alias = mine\n"
        }
    )
    assert collected(module) == ["Mine", "mine", "theirs"]


def test_a_package_is_walked_and_its_main_is_left_alone(package: Write) -> None:
    root = package(
        {
            "__init__.py": "",
            "__main__.py": "raise SystemExit('ran')",
            "mail.py": JOB + "@queueable\ndef mail(): ...\n",
            "deep/__init__.py": JOB + "@queueable\ndef deep(): ...\n",
            "deep/deeper.py": JOB + "from ROOT.mail import mail\nclass Deeper(Queueable):\n    def handle(self): ...\n",
        }
    )
    assert collected(root, root) == ["Deeper", "deep", "mail"]


def test_a_module_can_be_given_itself() -> None:
    registry = Registry()
    registry.collect(sys.modules[__name__])
    assert registry.names() == ["Report", "send"]


def test_two_jobs_of_one_name_in_a_package_are_refused(package: Write) -> None:
    same = JOB + "@queueable\ndef same(): ...\n"
    root = package({"__init__.py": "", "a.py": same, "b.py": same})
    with pytest.raises(DuplicateJob, match=rf"Two jobs are called 'same': {root}\.a\.same and {root}\.b\.same"):
        collected(root)


def test_a_script_that_imports_itself_is_told_so_and_not_to_give_its_job_another_name(tmp_path: Path) -> None:
    script = tmp_path / "shop_as_a_script.py"
    script.write_text(
        JOB + "@queueable\ndef send(): ...\n"
        "if __name__ == '__main__':\n"
        "    import shop_as_a_script\n"
        "    from gello_dramatiq import Registry\n"
        "    jobs = Registry()\n"
        "    jobs.register(send)\n"
        "    try:\n"
        "        jobs.register(shop_as_a_script.send)\n"
        "    except Exception as error:\n"
        "        print(error)\n"
        "    jobs.register(queueable(name='send')(lambda: None))\n"
    )
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert "'send': __main__.send and shop_as_a_script.send. They are one, in a file that is run" in told.stdout
    assert "another name" not in told.stdout
    assert "__main__.<lambda>. Give one of them another name" in told.stderr


@pytest.mark.parametrize("missing", ["nowhere_at_all", "nowhere_at_all.jobs"])
def test_a_module_that_isnt_there_is_told_with_what_to_do(missing: str) -> None:
    with pytest.raises(
        ImportFailed, match="There is no module 'nowhere_at_all'; run the command in the folder that holds"
    ):
        collected(missing)


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        ("./myapp/jobs.py", "is a file, not a module; name it as Python imports it: myapp.jobs"),
        ("myapp/jobs", "is a file, not a module; name it as Python imports it: myapp.jobs"),
        (".jobs", "give the module's whole name, as in myapp.jobs"),
    ],
)
def test_a_path_in_the_place_of_a_module_is_refused_with_the_name_it_may_have(path: str, fix: str) -> None:
    with pytest.raises(ImportFailed, match=fix):
        collected(path)


def test_a_missing_module_inside_a_package_is_named(package: Write) -> None:
    root = package({"__init__.py": ""})
    with pytest.raises(ImportFailed, match=f"There is no module '{root}.jobs'"):
        collected(f"{root}.jobs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n\n1 / 0\n", r"can't be imported: ZeroDivisionError: division by zero \(in .*\.py, line 3\)"),
        (
            "import nowhere_at_all\n",
            r"can't be imported: ModuleNotFoundError: No module named 'nowhere_at_all' \(in .*, line 1\)",
        ),
        ("from os import nowhere\n", r"can't be imported: ImportError: cannot import name 'nowhere'"),
        ("def f(:\n", r"can't be imported: SyntaxError: .*line 1"),
        (JOB + "@queueable(tries=3)\ndef f(): ...\n", r"can't be imported: InvalidDefinition: f: 'tries' is no option"),
    ],
    ids=["error", "missing", "name", "syntax", "definition"],
)
def test_a_module_that_fails_is_told_in_one_line_with_file_and_line(package: Write, text: str, words: str) -> None:
    module = package({"": text})
    with pytest.raises(ImportFailed, match=f"Module '{module}' {words}") as failed:
        collected(module)
    assert failed.value.__cause__ is not None


def test_a_module_that_fails_inside_a_package_is_named(package: Write) -> None:
    root = package({"__init__.py": "", "broken.py": "1 / 0\n"})
    with pytest.raises(ImportFailed, match=f"Module '{root}.broken' can't be imported: ZeroDivisionError"):
        collected(root)


def test_a_broken_package_inside_a_package_is_told_once_in_words(package: Write) -> None:
    root = package({"__init__.py": "", "deep/__init__.py": "1 / 0\n"})
    with pytest.raises(ImportFailed, match=f"Module '{root}.deep' can't be imported: ZeroDivisionError"):
        collected(root)


def test_dispatch_runs_handler_and_hooks_here_and_now() -> None:
    said: list[str] = []

    class Job(Queueable):
        number: int

        def before_handle(self) -> None:
            said.append("before")

        async def handle(self) -> int:
            await asyncio.sleep(0)
            said.append("handle")
            return self.number

        def after_handle(self) -> None:
            said.append("after")

    assert Registry().dispatch(Job(number=3).job()) == 3
    assert said == ["before", "handle", "after"]
    assert Registry().dispatch(send.job(3)) == 6
