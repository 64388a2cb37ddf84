from __future__ import annotations

import asyncio
import inspect
import pickle
import warnings
from datetime import timedelta
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, Field

from gello_dramatiq import Queueable, QueueableFunction, backoff, queueable
from gello_dramatiq.backoff import Constant, Steps
from gello_dramatiq.definition import PendingJob, definition_of
from gello_dramatiq.errors import GelloError, InvalidDefinition, InvalidDuration, InvalidPayload, InvalidQueueName
from gello_dramatiq.options import DEFAULTS, Options

MINUTE = timedelta(minutes=1)


@queueable(queue="emails", priority=2)
def send(user_id: int, email: str = "a@b.c") -> int:
    """Send one mail."""
    return user_id * 2


@queueable
async def fetch(url: str) -> str:
    return url.upper()


class Report(Queueable, queue="reports", max_attempts=5, timeout="1h"):
    report_id: int
    format: str = "pdf"

    def handle(self) -> str:
        return f"{self.report_id}.{self.format}"


def audit(job: Any, call: Any) -> Any:
    return call()


async def audit_later(job: Any, call: Any) -> Any:
    return call()


class Audit:
    def __call__(self, job: Any, call: Any) -> Any:
        return call()

    async def later(self, job: Any, call: Any) -> Any:
        return call()


class LateAudit:
    async def __call__(self, job: Any, call: Any) -> Any:
        return call()


# ------------------------------------------------------------------------------------------------- functions


def test_a_job_function_is_still_its_function() -> None:
    assert send(4) == 8
    assert asyncio.run(fetch("a")) == "A"
    assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send one mail.", __name__)
    assert str(inspect.signature(send)) == "(user_id: 'int', email: 'str' = 'a@b.c') -> 'int'"
    assert repr(send) == "<queueable send>"


def test_a_definition_says_what_was_declared() -> None:
    assert (send.definition.name, send.definition.is_async) == ("send", False)
    assert send.definition.options == Options(queue="emails", priority=2)
    assert fetch.definition.is_async
    assert repr(send.definition) == "<job send>"


def test_the_name_on_the_wire_can_be_another() -> None:
    @queueable(name="mail.send:v2")
    def other() -> None: ...

    assert other.definition.name == "mail.send:v2"


def test_a_handler_gets_the_payload_as_keywords() -> None:
    assert send.definition.handle({"user_id": 3, "email": "x"}) == 6


def test_hooks_get_the_payload_too_and_on_failure_the_error_first() -> None:
    seen: list[Any] = []

    @queueable
    def job(number: int) -> None: ...

    @job.before_handle
    def before(number: int) -> None:
        seen.append(("before", number))

    @job.after_handle
    def after(number: int) -> None:
        seen.append(("after", number))

    @job.on_failure
    def failed(error: BaseException, number: int) -> None:
        seen.append((error, number))

    hooks, error = job.definition.hooks, ValueError()
    assert hooks.before_handle is not None
    assert hooks.after_handle is not None
    assert hooks.on_failure is not None
    hooks.before_handle({"number": 1})
    hooks.after_handle({"number": 1})
    hooks.on_failure({"number": 1}, error)
    before(2)
    assert seen == [("before", 1), ("after", 1), (error, 1), ("before", 2)]


def test_a_static_method_is_a_job_and_a_method_isnt() -> None:
    class Account:
        @queueable
        @staticmethod
        def close(account_id: int) -> int:
            return account_id

    assert Account.close(3) == 3
    assert Account.close.job(3).payload == {"account_id": 3}


@pytest.mark.parametrize(
    "declare",
    [
        pytest.param(
            lambda: queueable(
                lambda *numbers: None,
            ),
            id="args",
        ),
        pytest.param(lambda: queueable(name="job")(lambda *numbers: None), id="named args"),
        pytest.param(lambda: queueable(name="job")(lambda **fields: None), id="kwargs"),
        pytest.param(lambda: queueable(name="job")(eval("lambda number, /: None")), id="positional"),  # noqa: S307
    ],
)
def test_a_parameter_without_a_name_is_refused(declare: Any) -> None:
    with pytest.raises(InvalidDefinition, match=r"has no name in a payload|is no job name"):
        declare()


def test_what_is_no_function_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(InvalidDefinition, match=r"takes a function, not .*for a class, derive from Queueable"):
        queueable(Report)
    with pytest.raises(InvalidDefinition, match="takes a function"):
        queueable("send")  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------------- options

AUDIT = Audit()

WRONG = [
    ({"queue": "no spaces"}, "'no spaces' is no queue name"),
    ({"queue": ""}, "'' is no queue name"),
    ({"queue": "1st"}, "'1st' is no queue name"),
    ({"queue": "q" * 129}, "is no queue name.* At most 128 characters"),
    ({"queue": 7}, "7 is no queue name"),
    ({"priority": 6}, "priority=6: give a whole number, 0 to 5"),
    ({"priority": -1}, "priority=-1: give a whole number, 0 to 5"),
    ({"priority": "high"}, "priority='high': give a whole number, 0 to 5"),
    ({"priority": True}, "priority=True: give a whole number, 0 to 5"),
    ({"max_attempts": 0}, "max_attempts=0: give a whole number, 1 or more"),
    ({"max_attempts": 2.5}, "max_attempts=2.5: give a whole number, 1 or more"),
    ({"timeout": "soon"}, "timeout: 'soon' is no duration: give a timedelta"),
    ({"timeout": 0}, "timeout=0: give a duration above zero"),
    ({"timeout": -5}, "timeout: -5 is negative"),
    ({"retry_after": "soon"}, "retry_after: 'soon' is no duration"),
    ({"retry_until": "0s"}, "retry_until='0s': give a duration above zero"),
    ({"backoff": []}, r"backoff=\[\] can't be used: give a duration, a list"),
    ({"backoff": ["1s", "soon"]}, "backoff: 'soon' is no duration"),
    ({"backoff": backoff.exponential}, "can't be used: give a duration"),
    ({"retry_for": "ValueError"}, "retry_for='ValueError': give an exception class or a list of them"),
    ({"retry_for": [ValueError, 3]}, "give an exception class or a list of them"),
    ({"fail_for": int}, "fail_for=<class 'int'>: give an exception class"),
    ({"fail_for": ValueError("x")}, "give an exception class or a list of them"),
    ({"middleware": audit}, r"give a list of callables \(job, call\)"),
    ({"middleware": ["audit"]}, r"middleware=\['audit'\]: give a list of callables"),
    ({"middleware": [Audit]}, "Audit'> is a class: .* give the instance"),
    ({"middleware": [audit_later]}, "audit_later .* is async; make it a plain function"),
    ({"middleware": [Audit().later]}, "is async; make it a plain function"),
    ({"middleware": [LateAudit()]}, "is async; make it a plain function"),
    ({"middleware": [lambda job, call: (yield)]}, "says yield"),
    ({"middleware": [lambda job: None]}, "is called with job and call, and doesn't take that: too many positional"),
    ({"rerun_after_crash": "no"}, "rerun_after_crash='no': give True or False"),
    ({"max_attempt": 3}, "'max_attempt' is no option here; did you mean 'max_attempts'?"),
    ({"tries": 3}, "'tries' is no option here; .*(did you mean|there are: queue, priority)"),
    ({"name": "no spaces"}, "'no spaces' is no job name: it starts with a letter"),
    ({"name": "n" * 192}, "is no job name: .* 191 characters at most"),
    ({"name": 7}, "7 is no job name"),
]


@pytest.mark.parametrize(
    ("options", "fix"),
    [pytest.param(said, fix, id=f"{number} {next(iter(said))}") for number, (said, fix) in enumerate(WRONG)],
)
def test_a_wrong_option_is_refused_at_declaration_and_the_error_says_the_fix(options: Any, fix: str) -> None:
    def job() -> None: ...

    # A wrong name or duration keeps its own error, so that who pushes can tell them apart.
    refusals = (InvalidDefinition, InvalidQueueName, InvalidDuration)
    with pytest.raises(refusals, match=fix):
        queueable(**options)(job)
    with pytest.raises(refusals, match=fix):
        type(Queueable)("Job", (Queueable,), {"__module__": __name__, "handle": lambda self: None}, **options)


RIGHT: list[tuple[str, Any, Any]] = [
    ("queue", "emails.high-1_x", "emails.high-1_x"),
    ("priority", 5, 5),
    ("max_attempts", 1, 1),
    ("timeout", "30s", timedelta(seconds=30)),
    ("retry_after", 0, timedelta(0)),
    ("backoff", ["1s", 2], Steps((timedelta(seconds=1), timedelta(seconds=2)))),
    ("backoff", "1m", Constant(MINUTE)),
    ("retry_for", ValueError, (ValueError,)),
    ("fail_for", [KeyError, OSError], (KeyError, OSError)),
    ("retry_until", timedelta(days=1), timedelta(days=1)),
    ("middleware", [audit], (audit,)),
    ("middleware", [AUDIT], (AUDIT,)),
    ("rerun_after_crash", False, False),
    ("timeout", None, None),
]


@pytest.mark.parametrize(
    ("option", "value", "read"), RIGHT, ids=[f"{number} {option[0]}" for number, option in enumerate(RIGHT)]
)
def test_both_ways_to_write_a_job_read_options_alike(option: str, value: Any, read: Any) -> None:
    def job() -> None: ...

    made: Any = type(Queueable)(
        "Job", (Queueable,), {"__module__": __name__, "handle": lambda self: None}, **{option: value}
    )
    for definition in (queueable(**{option: value})(job).definition, made.definition):
        assert getattr(definition.options, option) == read


def test_what_an_option_leaves_unsaid_is_said_by_the_next_in_line() -> None:
    push, definition = Options(priority=5), Options(queue="emails", priority=2, timeout=MINUTE)
    said = push.over(definition.over(DEFAULTS))
    assert (said.priority, said.queue, said.timeout, said.max_attempts) == (5, "emails", MINUTE, 3)


def test_a_wait_said_nearer_replaces_a_backoff_said_further_off() -> None:
    nearer = Options(retry_after=MINUTE).over(Options(backoff=Constant(timedelta(hours=1))))
    assert nearer.limits().backoff == Constant(MINUTE)


def test_retry_until_alone_means_as_often_as_that_allows() -> None:
    assert Options(retry_until=MINUTE).over(DEFAULTS).limits().max_attempts is None
    assert Options(retry_until=MINUTE, max_attempts=2).over(DEFAULTS).limits().max_attempts == 2


def test_the_defaults_are_three_attempts_a_minute_apart_of_a_minute_each() -> None:
    limits = DEFAULTS.limits()
    assert (limits.max_attempts, limits.timeout, limits.backoff) == (3, MINUTE, Constant(MINUTE))


# ------------------------------------------------------------------------------------------------- classes


def test_a_class_is_its_payload() -> None:
    assert Report(report_id=3).handle() == "3.pdf"
    assert Report.definition.options == Options(queue="reports", max_attempts=5, timeout=timedelta(hours=1))
    assert Report.definition.handle(Report(report_id=4)) == "4.pdf"


def test_options_are_inherited_and_overridden() -> None:
    class Base(Queueable, queue="slow", max_attempts=7, retry_for=[OSError]):
        pass

    class Job(Base, max_attempts=2):
        def handle(self) -> None: ...

    class Deeper(Job, queue="fast"):
        pass

    assert Job.definition.options == Options(queue="slow", max_attempts=2, retry_for=(OSError,))
    assert Deeper.definition.options == Options(queue="fast", max_attempts=2, retry_for=(OSError,))
    assert Deeper.definition.name == "Deeper"
    assert Job.definition.options.queue == "slow"


def test_fields_handlers_and_hooks_are_inherited() -> None:
    class Base(Queueable):
        number: int

        def handle(self) -> int:
            return self.number

        def on_failure(self, error: BaseException) -> None: ...

    class Job(Base):
        more: int = 1

    assert Job.definition.handle(Job(number=3)) == 3
    assert Job.definition.schema.fields == ["number", "more"]
    assert Job.definition.hooks.on_failure is not None
    assert Job.definition.hooks.before_handle is None


def test_a_class_without_a_handler_is_only_a_base() -> None:
    class Base(Queueable):
        number: int

    with pytest.raises(InvalidDefinition, match=r"Base has no handle\(\) yet, so it is no job"):
        Base(number=1).job()
    with pytest.raises(InvalidDefinition, match="is no job: decorate a function with @queueable, or derive from"):
        definition_of(Base)


def test_a_class_may_share_fields_of_a_model() -> None:
    class Tenant(BaseModel):
        tenant: int

    class Job(Tenant, Queueable):
        def handle(self) -> None: ...

    assert Job(tenant=3).job().payload == {"tenant": 3}


HIDDEN = [
    "push",
    "later",
    "on",
    "job",
    "with_options",
    "handle",
    "on_failure",
    "definition",
    "copy",
    "json",
    "dict",
    "schema",
]


@pytest.mark.parametrize("field", HIDDEN)
def test_a_field_named_like_a_method_is_refused_with_the_way_to_keep_its_name_on_the_wire(field: str) -> None:
    body = {"__annotations__": {field: int}, "__module__": __name__}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidDefinition, match=rf"can't be called '{field}'.* Field\(alias='{field}'\)"):
            type(Queueable)("Job", (Queueable,), body)


def test_a_field_may_be_called_like_an_option() -> None:
    class Job(Queueable, queue="emails"):
        name: str
        queue: str
        priority: int
        timeout: float = 1

        def handle(self) -> None: ...

    assert Job(name="a", queue="b", priority=3).job().payload == {
        "name": "a",
        "queue": "b",
        "priority": 3,
        "timeout": 1.0,
    }
    assert Job.definition.options.queue == "emails"


@pytest.mark.parametrize("value", ["30s", ["1s", "5s"], lambda self: [1, 5]], ids=["text", "list", "method"])
@pytest.mark.parametrize("option", ["queue", "backoff", "middleware"])
def test_an_option_in_the_body_of_a_class_is_refused_as_nobody_would_read_it(option: str, value: Any) -> None:
    body = {"__module__": __name__, option: value, "handle": lambda self: None}
    fix = rf"Job: '{option}' is an option, .*class Job\(Queueable, {option}=…\)"
    with pytest.raises(InvalidDefinition, match=fix):
        type(Queueable)("Job", (Queueable,), body)


def test_a_field_may_have_the_name_of_an_option() -> None:
    class Job(Queueable, queue="emails"):
        queue: str = "theirs"

        def handle(self) -> None: ...

    assert (Job.definition.options.queue, Job().job().payload) == ("emails", {"queue": "theirs"})


def test_the_advice_for_a_hidden_method_works() -> None:
    class Job(Queueable):
        copy_: int = Field(alias="copy")

        def handle(self) -> None: ...

    assert Job(copy=3).job().payload == {"copy": 3}


def test_a_wrong_payload_is_refused_where_the_instance_is_made() -> None:
    with pytest.raises(InvalidPayload, match="Report: field 'report_id' is missing"):
        Report()  # type: ignore[call-arg]


def test_an_instance_that_was_changed_into_a_wrong_one_is_refused_at_the_push() -> None:
    class Page(Queueable):
        number: int = Field(gt=0)

        def handle(self) -> None: ...

    page = Page(number=1)
    page.number = -1
    with pytest.raises(InvalidPayload, match="Page: field 'number': Input should be greater than 0"):
        page.job()


def test_instances_can_be_compared_and_pickled() -> None:
    report = Report(report_id=3)
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301


def test_a_verb_called_on_the_class_says_that_it_needs_a_job() -> None:
    for call in (
        lambda: Report.push(report_id=3),  # type: ignore[call-arg]
        lambda: Report.later("5m", report_id=3),  # type: ignore[call-arg, arg-type]
        lambda: Report.on("high"),  # type: ignore[call-arg, arg-type]
    ):
        with pytest.raises(InvalidPayload, match=r"needs a job, .*: Report\(report_id, format\)\.\w+\(…\)"):
            call()
    assert Report.job(Report(report_id=3)).payload["report_id"] == 3


# ------------------------------------------------------------------------------------------------- hooks


@queueable
def greet(name: str, words: list[str] = ["hello"], mark: str = "!") -> None:  # noqa: B006 (the default is the point)
    words.append(name)


def test_hooks_get_the_handlers_defaults_each_call_its_own() -> None:
    seen: list[Any] = []

    @greet.before_handle
    def before(name: str, words: list[str], mark: str) -> None:
        words.append(name)
        seen.append((words, mark))

    hook = greet.definition.hooks.before_handle
    assert hook is not None
    hook({"name": "Ann"})
    hook({"name": "Bob", "mark": "?"})
    assert seen == [(["hello", "Ann"], "!"), (["hello", "Bob"], "?")]


@pytest.mark.parametrize(
    ("decorate", "hook", "called_with"),
    [
        (greet.before_handle, lambda name: None, "before_handle is called with name, words, mark"),
        (greet.after_handle, lambda: None, "after_handle is called with name, words, mark"),
        (greet.on_failure, lambda name, words, mark: None, "on_failure is called with error, name, words, mark"),
    ],
    ids=["before", "after", "failure"],
)
def test_a_hook_that_cant_take_the_arguments_is_refused_where_it_is_declared(
    decorate: Any, hook: Any, called_with: str
) -> None:
    with pytest.raises(InvalidDefinition, match=f"greet: {called_with}, and doesn't take that"):
        decorate(hook)


@pytest.mark.parametrize(
    ("method", "called_with"),
    [("handle", "self"), ("before_handle", "self"), ("after_handle", "self"), ("on_failure", "self, error")],
)
def test_a_class_whose_methods_take_anything_else_is_refused(method: str, called_with: str) -> None:
    body = {"handle": lambda self: None, method: lambda self, one, two: None, "__module__": __name__}
    with pytest.raises(InvalidDefinition, match=f"Job: {method} is called with {called_with}, and doesn't take that"):
        type(Queueable)("Job", (Queueable,), body)


@pytest.mark.parametrize("bound", [lambda method: method, classmethod], ids=["method", "classmethod"])
def test_a_method_is_no_job(bound: Any) -> None:
    class Account:
        def close_it(self, account_id: int) -> None: ...

    with pytest.raises(InvalidDefinition, match=r"close_it: a method can't be a job.*class CloseIt\(Queueable\)"):
        queueable(bound(Account.close_it))


def test_options_without_a_name_are_refused_with_the_form_they_need() -> None:
    with pytest.raises(InvalidDefinition, match=r"not 'emails';.* @queueable\(queue=\"emails\"\)"):
        queueable("emails")  # type: ignore[call-overload]


# ------------------------------------------------------------------------------------------------- pending jobs


def test_a_pending_job_carries_its_own_options_and_the_last_one_wins() -> None:
    pending = send.on("high").with_options(priority=4).with_options(priority=5, timeout="5m").job(7)
    assert isinstance(pending, PendingJob)
    assert pending.overrides == Options(queue="high", priority=5, timeout=timedelta(minutes=5))
    assert send.job(7).on("high").with_options(priority=5).overrides == Options(queue="high", priority=5)
    assert Report(report_id=1).on("high").job().overrides == Options(queue="high")


def test_making_a_pending_job_changes_neither_the_definition_nor_another_push() -> None:
    high = send.on("high")
    high.with_options(priority=5).job(7)
    assert high.job(7).overrides == Options(queue="high")
    assert send.definition.options == Options(queue="emails", priority=2)


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"priorty": 5}, r"send.with_options: 'priorty' is no option here; did you mean 'priority'\?"),
        ({"backoff": "5m"}, "send.with_options: 'backoff' is no option here; there are: queue, priority, max_attempts"),
        ({"middleware": [audit]}, "'middleware' is no option here"),
        ({"name": "x"}, "'name' is no option here"),
        ({"max_attempts": 0}, "send.with_options: max_attempts=0: give a whole number"),
    ],
    ids=["unknown", "backoff", "middleware", "name", "value"],
)
def test_a_push_says_only_what_can_travel(options: Any, fix: str) -> None:
    with pytest.raises(InvalidDefinition, match=fix):
        send.with_options(**options)
    with pytest.raises(InvalidDefinition, match=fix):
        send.on("high").with_options(**options)


def test_a_wrong_queue_is_refused_before_the_push() -> None:
    for job in (send, Report(report_id=1), send.job(7)):
        with pytest.raises(InvalidQueueName, match="'no spaces' is no queue name"):
            job.on("no spaces")


@pytest.mark.parametrize(
    "job", [send, Report, Report(report_id=1), send.definition, send.job(1)], ids=lambda job: type(job).__name__
)
def test_every_form_of_a_job_has_its_definition(job: Any) -> None:
    assert definition_of(job).name in ("send", "Report")


@pytest.mark.parametrize("job", [print, "send", None, BaseModel, Queueable], ids=str)
def test_what_is_no_job_is_refused_with_how_to_make_one(job: Any) -> None:
    with pytest.raises(
        InvalidDefinition, match="is no job: decorate a function with @queueable, or derive from Queueable"
    ):
        definition_of(job)


def test_every_error_of_a_declaration_is_one_of_gellos() -> None:
    assert issubclass(InvalidDefinition, GelloError)
    assert isinstance(send, QueueableFunction)


def test_a_class_inside_a_function_may_use_a_type_of_that_function() -> None:
    class Colour(Enum):
        RED = 1

    class Paint(Queueable):
        colour: Colour

        def handle(self) -> None: ...

    assert Paint(colour=Colour.RED).job().payload == {"colour": 1}


def test_a_function_inside_a_function_that_uses_a_type_of_it_is_refused_with_the_fix() -> None:
    class Colour(Enum):
        RED = 1

    @queueable
    def paint(colour: Colour) -> None: ...

    with pytest.raises(InvalidDefinition, match="define a payload's types in the module"):
        paint.job(Colour.RED)


def test_a_class_that_is_given_its_fields_without_names_says_how() -> None:
    class Report(Queueable):
        number: int
        format: str = "pdf"

        def handle(self) -> None: ...

    with pytest.raises(
        InvalidPayload, match=r"Report: fields are given by name, Report\(number=…, format=…\), not \(3\)"
    ):
        Report(3)  # type: ignore[call-arg]


def test_a_class_whose_own_init_takes_a_position_still_does() -> None:
    class Report(Queueable):
        number: int

        def __init__(self, number: int) -> None:
            super().__init__(number=number)

        def handle(self) -> None: ...

    assert Report(3).number == 3


def test_what_a_job_function_returned_is_no_job_and_the_error_says_why() -> None:
    with pytest.raises(InvalidDefinition, match=r"None is no job.* calling one runs it; give its job\(…\) instead"):
        definition_of(None)
