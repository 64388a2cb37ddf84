"""What a start costs: importing the package, `gello --help`, and a worker's first job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from benchmarks.scenario import Figures, NotMeasured, Row, Run, Wanted, figure
from benchmarks.scratch import fresh_url

CASES = ("typer", "import", "help", "worker")
ROWS = (
    Row("importing gello_dramatiq: what it opens", figure("import", "opened"), Wanted(at_most=0), ""),
    Row("importing gello_dramatiq", figure("import", "milliseconds"), unit="ms"),
    Row("gello --help", figure("help", "milliseconds"), Wanted(at_most=250), "ms"),
    Row(
        "gello --help / python -c 'import typer': time",
        lambda figures: figures["help"]["milliseconds"] / figures["typer"]["milliseconds"],
    ),
    Row(
        "worker start to first job, SQLite, beyond the user's imports",
        figure("worker", "seconds"),
        Wanted(at_most=0.5),
        "s",
    ),
)

OPENED = """
import json, sys, threading
sys.dont_write_bytecode = True
opened = []
def watch(event, args):
    if event in ("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.fork"):
        opened.append(f"{event} {args}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append(f"{event} {args}")
sys.addaudithook(watch)
import gello_dramatiq
for name in gello_dramatiq.__all__:
    getattr(gello_dramatiq, name)
opened += [f"thread {thread.name}" for thread in threading.enumerate()[1:]]
print(json.dumps(opened))
"""
HELP = "import sys; from gello_dramatiq.cli import main; sys.argv[:] = ['gello', '--help']; sys.exit(main())"
WORKER = """
import sys, time, logging
logging.basicConfig(level=logging.WARNING)
from benchmarks import began, jobs
imported = time.monotonic()
from gello_dramatiq import Gello
gello = Gello(sys.argv[1], modules=["benchmarks.jobs"])
worker = gello.worker(concurrency=8)
worker.start()
worker.join()
wall, _ = began.first()
print(wall - imported)
worker.stop()
"""


def measure(case: str, run: Run) -> Figures:
    match case:
        case "typer":
            return {"milliseconds": _best("import typer")}
        case "import":
            opened = json.loads(_python(OPENED))
            for what in opened:
                print(what, file=sys.stderr)
            return {"opened": len(opened), "milliseconds": _best("import gello_dramatiq") - _best("pass")}
        case "help":
            return {"milliseconds": _help()}
        case _:
            _first_job(run)  # it leaves the bytecode behind that an installed package comes with
            return {"seconds": _first_job(run)}


def _first_job(run: Run) -> float:
    from benchmarks.jobs import nothing
    from gello_dramatiq import Gello

    url = fresh_url(run)
    gello = Gello(url, modules=["benchmarks.jobs"])
    gello.queue.push(nothing, user_id=7, email="ann@example.com", name="Ann")
    gello.close()
    return float(_python(WORKER, url))


def _best(code: str) -> float:
    """The shortest of five runs of a piece of Python, in milliseconds: a start has no typical disturbance."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _python(code)
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def _python(code: str, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return done.stdout


def _help() -> float:
    try:
        return _best(HELP)
    except subprocess.CalledProcessError as error:
        raise NotMeasured(f"it doesn't run ({error.stderr.strip().splitlines()[-1]})") from error
