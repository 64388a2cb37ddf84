"""`gello config`: every setting, its value, and where that came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..masking import mask
from .loading import opened
from .output import emit, table
from .parameters import App, Json

if TYPE_CHECKING:
    from ..settings import Settings

URLS = ("url", "database")
HIDDEN = "***"


def config(app: App = None, json: Json = False) -> None:
    """Show every setting and where it came from.

    Passwords are hidden, also inside URLs.
    """
    from ..settings import read_settings

    settings = read_settings()
    if app or settings.app:
        with opened(app) as gello:
            settings = gello.settings
    rows = described(settings, app)
    if json:
        emit(rows)
        return
    from rich.text import Text

    table(
        ["Setting", "Value", "From", "Environment"],
        [
            [row["name"], _shown(row["value"]), Text(row["from"], style=_style(row["from"])), Text(row["env"], "dim")]
            for row in rows
        ],
    )


def described(settings: Settings, app: str | None = None) -> list[dict[str, Any]]:
    """Each setting as it is shown."""
    from ..settings import COMING, MASKED

    origins = _Origins(type(settings))
    rows = []
    for name, field in type(settings).model_fields.items():
        if name in COMING:
            continue
        value = getattr(settings, name)
        if name == "app" and app is not None:
            value = app
        rows.append(
            {
                "name": name,
                "value": HIDDEN if value and name in MASKED else mask(value) if value and name in URLS else value,
                "from": origins.of(name, value, field.get_default(call_default_factory=True)),
                "env": str(field.validation_alias),
            }
        )
    return rows


class _Origins:
    """Reads the sources of the settings again, each for itself, to tell which one spoke first."""

    def __init__(self, settings: type[Settings]) -> None:
        from pydantic_settings import EnvSettingsSource, InitSettingsSource

        nothing = InitSettingsSource(settings, {})
        sources = settings.settings_customise_sources(settings, nothing, EnvSettingsSource(settings), nothing, nothing)[
            1:
        ]
        names = ("environment", "gello.toml", "pyproject.toml")
        self._said: list[tuple[str, Mapping[str, Any]]] = [
            (name, source()) for name, source in zip(names, sources, strict=True)
        ]
        self._settings = settings

    def of(self, name: str, value: Any, default: Any) -> str:
        """Where a setting's value came from."""
        for source, said in self._said:
            for key in (str(self._settings.model_fields[name].validation_alias), name):
                if key in said:
                    return source if self._is(name, said[key], value) else "argument"
        return "default" if value == default else "argument"

    def _is(self, name: str, said: Any, value: Any) -> bool:
        """Whether a setting has this value by what a source says: "30s" and 30 are one."""
        from pydantic import ValidationError

        read = self._settings.model_construct()
        try:
            self._settings.__pydantic_validator__.validate_assignment(read, name, said)
        except ValidationError:
            return False
        return bool(getattr(read, name) == value)


def _shown(value: Any) -> str:
    from ..durations import spell

    if isinstance(value, timedelta):
        return spell(value)
    if value is None:
        return "—"
    return (", ".join(value) if isinstance(value, list) else str(value)) or "—"


def _style(source: str) -> str:
    return "dim" if source == "default" else ""
