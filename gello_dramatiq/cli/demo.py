"""`gello demo`: Gello at work, in half a minute and on nothing but what is installed."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .output import emit
from .parameters import Json

if TYPE_CHECKING:
    from ..app import Gello


def demo(json: Json = False) -> None:
    """See Gello at work: push, work, fail, mend, retry."""
    checkout = Path(__file__).parents[2]
    # Only beside our own package, as somebody else's `examples` are no demonstration of ours; and with its mail server.
    if (checkout / "examples" / "mailer" / "__main__.py").is_file() and find_spec("aiosmtpd"):
        command = [sys.executable, "-m", "examples.mailer", *(["--json"] if json else [])]
        ended = subprocess.run(command, cwd=checkout, check=False)  # noqa: S603 (the demo beside our own package)
        raise typer.Exit(ended.returncode)
    import tempfile

    hidden = redirect_stdout(io.StringIO()) if json else nullcontext()
    with tempfile.TemporaryDirectory(prefix="gello-demo-") as folder, hidden:
        result = _play(f"sqlite:///{folder}/demo.db")
    if json:
        emit(result)


def _play(url: str) -> dict[str, Any]:
    """Tell the story; returns what became of the jobs."""
    from ..app import Gello
    from . import demo_jobs, failed, logs, queues

    gello = Gello(url, jobs=[demo_jobs.send_welcome_email, demo_jobs.ChargeCard])
    logs.configure(gello, "info", as_json=False)
    try:
        with gello.using():
            _say(f"Two jobs are written in {Path(demo_jobs.__file__).name}; they are pushed to a new SQLite file.")
            for user, name in enumerate(("Ann", "Bob", "Cleo"), 1):
                demo_jobs.send_welcome_email.push(user_id=user, name=name)
            demo_jobs.ChargeCard(order=7, cents=1990).push()
            queues.show(queues.snapshot(gello))
            _say("A worker runs them. The payment fails, twice, and is kept.")
            _work(gello)
            failed.show(kept := gello.failed.all())
            _say("The gateway is mended, and the payment is retried.")
            demo_jobs.ChargeCard.gateway_works = True
            retried = gello.failed.retry_all()
            _work(gello)
            left = gello.failed.count()
            _say(f"Failed jobs left: {left}.")
    finally:
        demo_jobs.ChargeCard.gateway_works = False
        gello.close()
    return {"pushed": 4, "failed": [job.name for job in kept], "retried": retried, "left": left}


def _work(gello: Gello) -> None:
    gello.worker(concurrency=2, stop_when_empty=True).run()


def _say(text: str) -> None:
    typer.echo()
    typer.secho(text, bold=True if sys.stdout.isatty() else None)
