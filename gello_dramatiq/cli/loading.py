"""Finds the app that a command is about."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..app import Gello

HOW = (
    'name the app with --app myapp.main:gello, in GELLO_APP, or as app = "myapp.main:gello" under [tool.gello] in '
    'pyproject.toml; or name the modules of your jobs, in QUEUE_MODULES or as modules = ["myapp.jobs"].'
)


@contextmanager
def opened(name: str | None, modules: Sequence[str] = (), *, needs_jobs: bool = False) -> Iterator[Gello]:
    """The app that was named, or one made from the settings; closed in the end.

    Parameters:
      name: As `--app` takes it; the settings may say it too.
      modules: Modules whose jobs the app is to know besides.
      needs_jobs: Whether the command makes no sense for an app that knows no job.

    Raises:
      ImportFailed: It can't be loaded, or knows no job.
    """
    app = _load(name, modules)
    try:
        if needs_jobs and not app.broker.actors:
            from ..errors import ImportFailed

            raise ImportFailed(f"No job is known here: {HOW}")
        yield app
    finally:
        app.close()


def _load(name: str | None, modules: Sequence[str]) -> Gello:
    from ..settings import read_settings

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    name = name or read_settings().app
    if not name:
        from ..app import Gello

        return Gello(modules=modules)
    return _named(name, modules)


def _named(name: str, modules: Sequence[str]) -> Gello:
    module, found = _find(name)
    app = _only_app(module, name) if found is module else _checked(found, name)
    app.collect(_alone(module))
    for each in modules:
        app.collect(each)
    return app


def _find(name: str) -> tuple[ModuleType, Any]:
    """The module that a name names, and what it names in it: an attribute, or the module itself."""
    from ..errors import ImportFailed
    from ..registry import import_module

    module_name, colon, attributes = name.partition(":")
    if not colon:
        module_name, _, attributes = name.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in module_name.split(".")):
        if name.isidentifier():
            module = import_module(name)
            return module, module
        raise ImportFailed(f"{name!r} names no app; write it as module:attribute, as in myapp.main:gello.")
    module = import_module(module_name)
    found: Any = module
    for part in attributes.split("."):
        if not colon and not hasattr(found, part) and hasattr(module, "__path__"):
            module = import_module(name)
            return module, module
        if not hasattr(found, part):
            raise ImportFailed(f"{_place(module)} has no {attributes!r}; {_instead(module)}")
        found = getattr(found, part)
    return (found, found) if isinstance(found, ModuleType) else (module, found)


def _checked(found: Any, name: str) -> Gello:
    from ..app import Gello
    from ..errors import ImportFailed

    if not isinstance(found, Gello):
        raise ImportFailed(f"{name} is no Gello app, but an object of the class {type(found).__name__}.")
    return found


def _only_app(module: ModuleType, name: str) -> Gello:
    from ..errors import ImportFailed

    apps = _apps(module)
    if len({id(app) for app in apps.values()}) != 1:
        raise ImportFailed(f"{name} names a module, not an app in it; {_instead(module)}")
    return next(iter(apps.values()))


def _apps(module: ModuleType) -> dict[str, Gello]:
    from ..app import Gello

    return {name: value for name, value in vars(module).items() if isinstance(value, Gello)}


def _instead(module: ModuleType) -> str:
    apps = ", ".join(f"{module.__name__}:{name}" for name in _apps(module))
    return f"it holds: {apps}." if apps else 'it holds no Gello app, as gello = Gello("sqlite:///gello.db") makes one.'


def _place(module: ModuleType) -> str:
    return f"Module {module.__name__!r} ({getattr(module, '__file__', None) or 'built in'})"


def _alone(module: ModuleType) -> ModuleType:
    """A module without its submodules: the package of an app may hold scripts and tests, which nobody named."""
    if not hasattr(module, "__path__"):
        return module
    alone = ModuleType(module.__name__)
    vars(alone).update({name: value for name, value in vars(module).items() if name != "__path__"})
    return alone
