"""Settings: arguments, then the environment, then gello.toml, then [tool.gello] in pyproject.toml, then defaults."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from .durations import duration
from .errors import InvalidSetting
from .options import queue_name
from .payload import explain

DEFAULT_URL = "sqlite:///gello.db"
FILES = ("gello.toml", "pyproject.toml")
"""Where settings are read from, in the working directory; the first stands above the second."""
MASKED = frozenset({"redis_password"})
COMING = frozenset({"metrics_port", "health_port"})
"""Settings of what comes in a later version: they are read, and nobody is shown them yet."""


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _above_zero(length: timedelta) -> timedelta:
    if not length:
        raise ValueError("give a duration above zero")
    return length


Length = Annotated[timedelta, BeforeValidator(duration)]
LengthAboveZero = Annotated[Length, AfterValidator(_above_zero)]


class Settings(BaseSettings):
    """Everything that can be set from outside. Each field's environment variable stands beside it.

    Durations are timedeltas, seconds, or a text such as "30s", "5m", "1h30m".
    """

    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True)

    driver: Literal["database", "memory", "sync", "redis"] | None = Field(None, validation_alias="QUEUE_DRIVER")
    url: str | None = Field(None, validation_alias="QUEUE_URL")
    database: str | None = Field(None, validation_alias="DATABASE_URL")
    default_queue: Annotated[str, AfterValidator(queue_name)] = Field("default", validation_alias="QUEUE_DEFAULT")
    max_tries: int = Field(3, ge=1, validation_alias="QUEUE_MAX_TRIES")
    timeout: LengthAboveZero = Field(timedelta(seconds=60), validation_alias="QUEUE_TIMEOUT")
    retry_after: Length = Field(timedelta(seconds=60), validation_alias="QUEUE_RETRY_AFTER")
    max_payload: int = Field(1024 * 1024, ge=1, validation_alias="QUEUE_MAX_PAYLOAD")
    lease: LengthAboveZero = Field(timedelta(seconds=10), validation_alias="QUEUE_LEASE")
    table_prefix: str = Field("", validation_alias="QUEUE_TABLE_PREFIX")
    table_schema: str | None = Field(None, validation_alias="QUEUE_TABLE_SCHEMA")
    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field("NORMAL", validation_alias="QUEUE_SQLITE_SYNCHRONOUS")
    modules: Annotated[list[str], NoDecode, BeforeValidator(_split)] = Field([], validation_alias="QUEUE_MODULES")
    app: str | None = Field(None, validation_alias="GELLO_APP")
    prefix: str = Field("gello:queue:", validation_alias="QUEUE_PREFIX")
    single_host: bool = Field(False, validation_alias="QUEUE_SINGLE_HOST")
    redis_host: str = Field("localhost", validation_alias="REDIS_HOST")
    redis_port: int = Field(6379, ge=1, le=65535, validation_alias="REDIS_PORT")
    redis_password: str | None = Field(None, validation_alias="REDIS_PASSWORD")
    redis_db: int = Field(0, ge=0, validation_alias="REDIS_DB")
    metrics_port: int = Field(9090, ge=0, le=65535, validation_alias="QUEUE_METRICS_PORT")
    health_port: int = Field(9091, ge=0, le=65535, validation_alias="QUEUE_HEALTH_PORT")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        return (
            init_settings,
            env_settings,
            *(InitSettingsSource(settings_cls, _file(name)) for name in FILES),
        )

    @property
    def broker_url(self) -> str:
        """Where jobs go."""
        if self.url:
            return self.url
        match self.driver:
            case "memory" | "sync":
                return f"{self.driver}://"
            case "redis":
                password = f":{quote(self.redis_password, safe='')}@" if self.redis_password else ""
                return f"redis://{password}{self.redis_host}:{self.redis_port}/{self.redis_db}"
            case "database" | None:
                pass
        return self.database or DEFAULT_URL

    @property
    def database_url(self) -> str | None:
        """Where failed jobs and all else that must be remembered go; None for this process's memory."""
        if self.database:
            return self.database
        scheme = self.broker_url.partition(":")[0]
        if scheme in ("memory", "sync"):
            return None
        return DEFAULT_URL if scheme in NETWORK else self.broker_url


NETWORK = frozenset({"redis", "rediss", "amqp", "amqps", "sqs"})
"""URL schemes of brokers that are no databases."""


def read_settings(**arguments: Any) -> Settings:
    """Read the settings; arguments that are None are as if they weren't given.

    Raises:
      InvalidSetting: One can't be used; the message names it.
    """
    refuse_unknown("Gello(…)", arguments, Settings.model_fields)
    try:
        return Settings(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as error:
        # Pydantic sets this before the words of a validator of ours.
        raise InvalidSetting(f"Settings: {explain(error).replace('Value error, ', '')}") from error


def _file(name: str) -> dict[str, Any]:
    """What a file says, by field."""
    path = Path(name)
    if not path.is_file():
        return {}
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{path.resolve()} can't be read: {error}") from error
    said: dict[str, Any] = table.get("tool", {}).get("gello", {}) if name == "pyproject.toml" else table
    refuse_unknown(str(path.resolve()), said, Settings.model_fields)
    return said


def refuse_unknown(where: str, said: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that nobody knows.

    Raises:
      InvalidSetting: It is none of those that are known; the message says which one was meant, or which there are.
    """
    for name in said:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}."
            raise InvalidSetting(f"{where}: {name!r} is no setting; {hint}")
