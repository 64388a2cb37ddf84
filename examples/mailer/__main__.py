"""Gello at work: a small mailer, a mail server with moods, two worker processes, and a crash.

It ends with 0 if every accepted mail was delivered or kept as failed, with 1 if one was lost, with 2 if it can't run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import sys
from typing import Any

ROWS = 500
BROKERS = ("sqlite", "postgresql", "mariadb", "redis")


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = _options(arguments)
    if importlib.util.find_spec("aiosmtpd") is None:
        return _complain("The demo needs aiosmtpd, its mail server: run `make demo`, or `pip install aiosmtpd`.")
    # Imported here, because they need the mail server.
    from examples.mailer.processes import WorkersEnded
    from examples.mailer.screen import Screen
    from examples.mailer.story import tell
    from gello_dramatiq import GelloError

    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen(quiet=options.quiet or options.json)
    try:
        result = tell(options.users, screen, options.broker)
    except KeyboardInterrupt:
        return _complain("Stopped.", 130)
    except WorkersEnded as error:
        return _complain(str(error), 1)
    except (OSError, GelloError) as error:
        return _complain(f"The demo can't run here: {error}")
    if options.json:
        print(json.dumps(result.summary(), indent=2))
    if not result.good:
        return _complain(_what_is_wrong(result), 1)
    screen.closing(result.seconds)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.mailer", description=__doc__, allow_abbrev=False)
    parser.add_argument("--users", type=_users, default=ROWS, metavar="N", help=f"the first N of {ROWS} users")
    parser.add_argument("--broker", choices=BROKERS, default="sqlite", help="where the jobs are")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    return parser.parse_args(arguments)


def _users(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= ROWS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {ROWS}")
    return int(text)


def _interrupt(number: int, frame: Any) -> None:
    """End as Ctrl-C does, so that no worker is left behind."""
    raise KeyboardInterrupt


def _what_is_wrong(result: Any) -> str:
    lost = sorted({*result.first.lost, *result.last.lost})
    strays = sorted({*result.first.strays, *result.last.strays})
    if lost:
        return f"Lost: neither delivered nor kept as failed are the mails of {len(lost)} users: {_list(lost)}."
    if strays:
        return f"Delivered or failed, but never pushed, are the mails of {len(strays)} users: {_list(strays)}."
    return "The report has not arrived."


def _list(users: list[int]) -> str:
    return ", ".join(map(str, users))


def _complain(message: str, code: int = 2) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
