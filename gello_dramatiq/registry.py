"""The jobs that an app knows, by name."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from .definition import Definition, PendingJob, definition_of
from .errors import DuplicateJob, GelloError, ImportFailed, InvalidDefinition, UnknownJob
from .job_class import Queueable
from .job_function import QueueableFunction


class Registry:
    """The definitions of one app. It knows no broker."""

    def __init__(self) -> None:
        self._definitions: dict[str, Definition] = {}

    def register(self, job: Any) -> Definition:
        """Add a job; adding it again changes nothing.

        Raises:
          DuplicateJob: Another job has its name.
        """
        definition = definition_of(job)
        known = self._definitions.setdefault(definition.name, definition)
        if known is not definition:
            raise DuplicateJob(_twice(known, definition))
        definition.schema.adapter  # noqa: B018 (what can't travel is refused here at the latest, not at the first push)
        return definition

    def get(self, name: str) -> Definition:
        """The job of a name.

        Raises:
          UnknownJob: There is none.
        """
        try:
            return self._definitions[name]
        except KeyError:
            close = difflib.get_close_matches(name, self._definitions, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(self.names()) or 'none'}."
            raise UnknownJob(f"No job is called {name!r}; {hint}") from None

    def list(self) -> Sequence[Definition]:
        """All jobs, by name."""
        return [self._definitions[name] for name in self.names()]

    def names(self) -> Sequence[str]:
        """Their names, sorted."""
        return sorted(self._definitions)

    def collect(self, module: str | ModuleType) -> None:
        """Register the jobs that a module defines or imports; a package is walked.

        Raises:
          ImportFailed: A module can't be imported.
          DuplicateJob: Two jobs have one name.
        """
        for each in _walk(import_module(module) if isinstance(module, str) else module):
            for value in list(vars(each).values()):
                if isinstance(value, QueueableFunction) or _is_job_class(value):
                    self.register(value)

    def dispatch(self, job: PendingJob) -> Any:
        """Run a pending job's handler and hooks here and now, without a queue, middleware or retries.

        Raises:
          InvalidDefinition: It is no job.
        """
        definition = definition_of(job)
        hooks = definition.hooks
        payload = definition.schema.load(job.payload)
        if hooks.before_handle:
            _finish(hooks.before_handle(payload))
        result = _finish(definition.handle(payload))
        if hooks.after_handle:
            _finish(hooks.after_handle(payload))
        return result


def import_module(name: str) -> ModuleType:
    """Import a module by name.

    Raises:
      ImportFailed: It is no module's name, isn't there, or fails; the message names the file and line.
      GelloError: What it got from Gello, such as a setting that can't be used, in its own words.
    """
    _refuse_path(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ImportFailed(
                f"There is no module {error.name!r}; run the command in the folder that holds it, or set PYTHONPATH."
            ) from error
        raise ImportFailed(_import_error(name, error)) from error
    except SystemExit as error:
        raise ImportFailed(
            f"Module {name!r} ends the program while it is imported; put what it does as a script under "
            'if __name__ == "__main__".'
        ) from error
    except Exception as error:
        if isinstance(error, GelloError) and not isinstance(error, InvalidDefinition):
            raise
        raise ImportFailed(_import_error(name, error)) from error


def _refuse_path(name: str) -> None:
    if "/" in name or name.endswith(".py"):
        dotted = ".".join(part for part in name.removesuffix(".py").split("/") if part not in ("", "."))
        raise ImportFailed(f"{name!r} is a file, not a module; name it as Python imports it: {dotted}.")
    if name.startswith("."):
        raise ImportFailed(f"{name!r} is relative to nothing here; give the module's whole name, as in myapp{name}.")


def _import_error(name: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"Module {name!r} can't be imported: SyntaxError: {error.msg} (in {error.filename}, line {error.lineno})"
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    where = f" (in {frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno})" if frame else ""
    return f"Module {name!r} can't be imported: {type(error).__name__}: {error}{where}"


def _walk(module: ModuleType) -> Iterator[ModuleType]:
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), module.__name__ + "."):
        if not found.name.endswith(".__main__"):
            yield import_module(found.name)


def _is_job_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Queueable) and "definition" in vars(value)


def _twice(one: Definition, other: Definition) -> str:
    two = f"Two jobs are called {one.name!r}: {_place(one)} and {_place(other)}. "
    modules = {one.source.__module__, other.source.__module__}
    if "__main__" in modules and len(modules) == 2 and _file(one) == _file(other):
        return two + "They are one, in a file that is run as a script and imported too: run another, which imports it."
    return two + 'Give one of them another name: @queueable(name="…") or class X(Queueable, name="…").'


def _file(definition: Definition) -> Any:
    return getattr(sys.modules.get(definition.source.__module__), "__file__", definition)


def _place(definition: Definition) -> str:
    return f"{definition.source.__module__}.{definition.source.__qualname__}"


def _finish(result: Any) -> Any:
    if not inspect.iscoroutine(result):
        return result
    import asyncio

    return asyncio.run(result)
