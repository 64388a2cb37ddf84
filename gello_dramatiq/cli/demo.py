"""`gello demo`: Gello at work, in half a minute and on nothing but what is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..app import Gello


def demo() -> None:
    """See Gello at work: push, work, fail, mend, retry."""
    checkout = Path(__file__).parents[2]
    # Only beside our own package, as somebody else's `examples` are no demonstration of ours; and with its mail server.
    if (checkout / "examples" / "mailer" / "__main__.py").is_file() and find_spec("aiosmtpd"):
        ended = subprocess.run([sys.executable, "-m", "examples.mailer"], cwd=checkout, check=False)
        raise typer.Exit(ended.returncode)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gello-demo-") as folder:
        _play(f"sqlite:///{folder}/demo.db")


def _play(url: str) -> None:
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
            failed.show(gello.failed.all())
            _say("The gateway is mended, and the payment is retried.")
            demo_jobs.ChargeCard.gateway_works = True
            gello.failed.retry_all()
            _work(gello)
            _say(f"Failed jobs left: {gello.failed.count()}.")
    finally:
        gello.close()


def _work(gello: Gello) -> None:
    gello.worker(concurrency=2, stop_when_empty=True).run()


def _say(text: str) -> None:
    typer.echo()
    typer.secho(text, bold=True if sys.stdout.isatty() else None)
