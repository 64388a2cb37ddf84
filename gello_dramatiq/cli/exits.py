"""What an exit code means, and which one an error has."""

from __future__ import annotations

OK, FAILED, USAGE, NOT_LOADED, UNAVAILABLE = range(5)
INTERRUPTED, TERMINATED = 130, 143

EPILOG = """\
\b
Exit codes:
  0    done
  1    the operation failed
  2    wrong usage, input or setting
  3    the app or one of its modules can't be loaded
  4    the database or broker can't be used, or can't do that
  130  stopped by Ctrl+C (SIGINT); 143 by SIGTERM

\b
An app is named with --app, with GELLO_APP, or in pyproject.toml:
  [tool.gello]
  app = "myapp.main:gello"
"""


def code_of(error: Exception) -> int:
    """The exit code of an error of Gello's."""
    from .. import errors

    for kinds, code in (
        ((errors.ImportFailed, errors.DuplicateJob, errors.InvalidDefinition), NOT_LOADED),
        ((errors.Unavailable, errors.Unsupported), UNAVAILABLE),
        (errors.FailedJobNotFound, FAILED),
        ((ValueError, errors.UnknownJob), USAGE),
    ):
        if isinstance(error, kinds):
            return code
    return FAILED
