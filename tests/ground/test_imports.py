"""Importing Gello opens nothing and reads no environment, whatever module it is."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import gello_dramatiq

ROOT = Path(gello_dramatiq.__file__).parent.parent
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(gello_dramatiq.__path__, "gello_dramatiq.")
    if not found.name.endswith("__main__")
)

WATCHED = textwrap.dedent("""
    import importlib, json, os, sys, threading

    module, seen = "?", []
    OPENING = {"socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen",
               "os.fork", "os.mkdir", "os.remove", "os.rename", "os.putenv", "shutil.rmtree"}

    def hook(event, args):
        if event in OPENING:
            seen.append([module, event, repr(args[:1])])
        elif event == "open" and args[0] is not None:
            name, mode, flags = os.fspath(args[0]) if not isinstance(args[0], int) else "", args[1], args[2]
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and "__pycache__" not in str(name):
                seen.append([module, "writing open", str(name)])

    class Watched(dict):
        def __getitem__(self, key):
            note(key)
            return super().__getitem__(key)

    def note(key):
        key = key.decode() if isinstance(key, bytes) else key
        if key.startswith(("QUEUE_", "GELLO_", "DATABASE_", "REDIS_")):
            seen.append([module, "environment", key])

    sys.addaudithook(hook)
    os.environ._data = Watched(os.environ._data)
    os.environ.get("QUEUE_PROBE"), open(os.devnull, "w").close()
    probes, seen[:] = [event for _, event, _ in seen], []
    for module in json.loads(sys.argv[1]):
        threads = threading.active_count()
        importlib.import_module(module)
        if threading.active_count() > threads:
            seen.append([module, "thread", ""])
    current, broker = sys.modules.get("gello_dramatiq.current"), sys.modules.get("dramatiq.broker")
    registered = [current and current.default(), broker and broker.global_broker]
    print(json.dumps({"probes": probes, "seen": seen, "loaded": sorted(sys.modules), "registered": registered}))
""")


@cache
def imported(*modules: str) -> Any:
    run = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, json.dumps(modules)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_watch_sees_what_it_watches_for() -> None:
    assert imported("gello_dramatiq")["probes"] == ["environment", "writing open"]


def test_importing_any_module_opens_nothing_and_reads_no_environment() -> None:
    found = imported(*MODULES)
    assert found["seen"] == []
    assert set(MODULES) <= set(found["loaded"])


def test_importing_the_package_loads_none_of_its_modules() -> None:
    loaded = imported("gello_dramatiq")["loaded"]
    assert [name for name in loaded if name.startswith(("gello_dramatiq.", "dramatiq", "pydantic", "sqlalchemy"))] == []


@pytest.mark.parametrize("module", ["job_function", "job_class", "registry", "payload", "outcome", "definition"])
def test_the_ground_floor_loads_no_broker_and_no_database(module: str) -> None:
    loaded = imported(f"gello_dramatiq.{module}")["loaded"]
    assert not {"gello_dramatiq.broker", "gello_dramatiq.app", "sqlalchemy", "pydantic_settings"} & set(loaded)


def test_importing_registers_nothing() -> None:
    assert imported(*MODULES)["registered"] == [None, None]
