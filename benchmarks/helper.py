"""A helper process that is told by lines, and answers by lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType
from typing import Any

import psutil


class Helper:
    """Starts a module as a process, and waits until it is ready.

    Parameters:
      module: A module of the benchmarks: `worker` or `peer`.
      arguments: What it is started with.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._seen = psutil.Process(self._process.pid)
        self.answer()

    def __enter__(self) -> Helper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, line: str) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def ask(self, line: str) -> Any:
        """Tell it something, and wait for the answer."""
        self.tell(line)
        return self.answer()

    def answer(self) -> Any:
        """Wait for its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a helper process ended with {self._process.wait()}")
        return json.loads(line)

    def memory(self) -> int:
        """Its resident memory, in bytes."""
        resident: int = self._seen.memory_info().rss
        return resident
