"""Settings: every variable of the request, files, arguments, and one order of precedence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gello_dramatiq import Gello
from gello_dramatiq.brokers.memory import MemoryBroker
from gello_dramatiq.brokers.sync import SyncBroker
from gello_dramatiq.errors import ImportFailed, InvalidSetting, Unsupported
from gello_dramatiq.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_default_is_an_sqlite_file_beside_the_program() -> None:
    settings = read_settings()
    assert settings.broker_url == settings.database_url == "sqlite:///gello.db"
    assert (settings.default_queue, settings.max_tries, settings.timeout, settings.retry_after) == (
        "default",
        3,
        timedelta(minutes=1),
        timedelta(minutes=1),
    )


@pytest.mark.parametrize(
    ("variables", "broker", "database"),
    [
        ({"QUEUE_DRIVER": "memory"}, "memory://", None),
        ({"QUEUE_DRIVER": "sync"}, "sync://", None),
        ({"QUEUE_DRIVER": "database", "DATABASE_URL": "sqlite:///a.db"}, "sqlite:///a.db", "sqlite:///a.db"),
        ({"DATABASE_URL": "sqlite:///a.db"}, "sqlite:///a.db", "sqlite:///a.db"),
        ({"QUEUE_DRIVER": "memory", "DATABASE_URL": "sqlite:///a.db"}, "memory://", "sqlite:///a.db"),
        ({"QUEUE_URL": "sqlite:///b.db", "QUEUE_DRIVER": "memory"}, "sqlite:///b.db", "sqlite:///b.db"),
        ({"QUEUE_DRIVER": "redis"}, "redis://localhost:6379/0", "sqlite:///gello.db"),
        (
            {"QUEUE_DRIVER": "redis", "REDIS_HOST": "r", "REDIS_PORT": "7", "REDIS_PASSWORD": "p@ss", "REDIS_DB": "2"},
            "redis://:p%40ss@r:7/2",
            "sqlite:///gello.db",
        ),
    ],
)
def test_the_variables_of_the_request_say_where_jobs_and_memory_go(
    variables: dict[str, str], broker: str, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert (settings.broker_url, settings.database_url) == (broker, database)


@pytest.mark.parametrize(
    ("variable", "value", "field", "read"),
    [
        ("QUEUE_DEFAULT", "main", "default_queue", "main"),
        ("QUEUE_RETRY_AFTER", "90", "retry_after", timedelta(seconds=90)),
        ("QUEUE_MAX_TRIES", "5", "max_tries", 5),
        ("QUEUE_TIMEOUT", "2m", "timeout", timedelta(minutes=2)),
        ("QUEUE_METRICS_PORT", "1", "metrics_port", 1),
        ("QUEUE_HEALTH_PORT", "2", "health_port", 2),
        ("QUEUE_PREFIX", "acme:", "prefix", "acme:"),
        ("QUEUE_MAX_PAYLOAD", "10", "max_payload", 10),
        ("QUEUE_LEASE", "3s", "lease", timedelta(seconds=3)),
        ("QUEUE_TABLE_PREFIX", "acme_", "table_prefix", "acme_"),
        ("QUEUE_SQLITE_SYNCHRONOUS", "FULL", "sqlite_synchronous", "FULL"),
    ],
)
def test_each_variable_is_read(
    variable: str, value: str, field: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(read_settings(), field) == read


def test_arguments_stand_above_the_environment_above_gello_toml_above_pyproject_above_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.gello]\ndefault_queue = "pyproject"\nmax_tries = 7\ntimeout = "7s"\nretry_after = "7s"\n'
    )
    (tmp_path / "gello.toml").write_text('default_queue = "toml"\nmax_tries = 8\ntimeout = "8s"\n')
    monkeypatch.setenv("QUEUE_DEFAULT", "environment")
    monkeypatch.setenv("QUEUE_MAX_TRIES", "9")
    settings = read_settings(default_queue="argument")
    assert (settings.default_queue, settings.max_tries, settings.timeout, settings.retry_after, settings.lease) == (
        "argument",
        9,
        timedelta(seconds=8),
        timedelta(seconds=7),
        timedelta(seconds=10),
    )


def test_an_argument_that_is_none_is_as_if_it_were_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_URL", "memory://")
    assert read_settings(url=None).broker_url == "memory://"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"QUEUE_DRIVER": "carrier-pigeon"}, "QUEUE_DRIVER"),
        ({"QUEUE_MAX_TRIES": "0"}, "QUEUE_MAX_TRIES"),
        ({"QUEUE_MAX_TRIES": "many"}, "QUEUE_MAX_TRIES"),
        ({"REDIS_PORT": "70000"}, "REDIS_PORT"),
        ({"QUEUE_SQLITE_SYNCHRONOUS": "OFF"}, "QUEUE_SQLITE_SYNCHRONOUS"),
        ({"QUEUE_TIMEOUT": "soon"}, "QUEUE_TIMEOUT': 'soon' is no duration"),
        ({"QUEUE_LEASE": "soon"}, "QUEUE_LEASE': 'soon' is no duration"),
        ({"QUEUE_LEASE": "0"}, "QUEUE_LEASE': give a duration above zero"),
        ({"QUEUE_LEASE": "-1"}, "QUEUE_LEASE': '-1' is negative"),
        ({"QUEUE_DEFAULT": "9 lives"}, "QUEUE_DEFAULT': '9 lives' is no queue name"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSetting, match=says):
        read_settings()


@pytest.mark.parametrize("given", [90, 90.0, "90s", "1m30s", timedelta(seconds=90)])
@pytest.mark.parametrize("name", ["timeout", "retry_after", "lease"])
def test_a_duration_may_be_a_timedelta_a_number_or_a_text(name: str, given: Any) -> None:
    assert getattr(Gello("memory://", **{name: given}).settings, name) == timedelta(seconds=90)


def test_a_duration_of_a_file_may_be_a_number(tmp_path: Path) -> None:
    (tmp_path / "gello.toml").write_text("lease = 5\n")
    assert read_settings().lease == timedelta(seconds=5)


@pytest.mark.parametrize("name", ["gello.toml", "pyproject.toml"])
def test_a_file_that_is_no_toml_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("this is = not = toml")
    with pytest.raises(InvalidSetting, match=rf"{name} can't be read"):
        read_settings()


def test_a_key_of_a_file_that_is_no_setting_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "gello.toml").write_text("default_que = 'main'\n")
    with pytest.raises(InvalidSetting, match=r"gello\.toml: 'default_que' is no setting; did you mean 'default_queue'"):
        read_settings()


def test_an_unknown_argument_of_an_app_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidSetting, match=r"'max_trys'.*max_tries"):
        Gello("memory://", max_trys=3)


def test_an_app_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_DRIVER", "memory")
    monkeypatch.setenv("QUEUE_DEFAULT", "main")
    gello = Gello.from_env()
    assert isinstance(gello.broker, MemoryBroker)
    assert gello.queue.default_queue == "main"


def test_sync_says_what_it_sleeps() -> None:
    broker = Gello("sync://?sleep=none").broker
    assert isinstance(broker, SyncBroker)
    assert broker.sleep == "none"
    with pytest.raises(InvalidSetting, match="sleep is none, later or all"):
        Gello("sync://?sleep=well")


def test_brokers_of_later_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="amqp:// comes in a later version"):
        Gello("amqp://localhost")


def test_modules_can_be_named_in_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings_test_jobs.py").write_text(
        "from gello_dramatiq import queueable\n@queueable\ndef found() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("QUEUE_DRIVER", "memory")
    monkeypatch.setenv("QUEUE_MODULES", "settings_test_jobs")
    assert Gello().jobs.names() == ["found"]


def test_a_single_text_is_one_module() -> None:
    with pytest.raises(ImportFailed, match="There is no module 'boom'"):
        Gello("memory://", modules="boom")


def test_every_field_has_its_own_variable() -> None:
    variables = [str(field.validation_alias) for field in Settings.model_fields.values()]
    assert len(variables) == len(set(variables))
    assert {"QUEUE_DRIVER", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "QUEUE_PREFIX", "DATABASE_URL",
            "QUEUE_DEFAULT", "QUEUE_RETRY_AFTER", "QUEUE_MAX_TRIES", "QUEUE_TIMEOUT", "QUEUE_METRICS_PORT",
            "QUEUE_HEALTH_PORT"} <= set(variables)  # fmt: skip


def test_an_unknown_option_of_a_worker_is_refused_with_those_that_there_are() -> None:
    app = Gello("memory://")
    with pytest.raises(InvalidSetting, match=r"worker\(…\): 'threads' is no setting; there are: queues, concurrency,"):
        app.worker(threads=3)
    with pytest.raises(InvalidSetting, match="did you mean 'concurrency'"):
        app.worker(concurency=3)
    app.close()
