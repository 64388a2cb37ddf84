"""The worker processes of the demo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

GRACE = 10
"""Seconds that a worker has to end when it is asked to."""


class WorkersEnded(Exception):
    """No worker is left."""


class WorkerProcesses:
    """Real processes, one for each worker; none outlives the block.

    Parameters:
      count: How many.
      logs: The directory for what they say.
    """

    def __init__(self, count: int, logs: Path) -> None:
        self._logs = [logs / f"worker-{number + 1}.log" for number in range(count)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> WorkerProcesses:
        try:
            for log in self._logs:
                self._processes.append(_start(log))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def kill_first(self) -> int:
        """End the first worker at once, with SIGKILL; returns its process id."""
        first = self._processes[0]
        first.kill()
        first.wait()
        return first.pid

    def check(self) -> None:
        """Look whether anybody works.

        Raises:
          WorkersEnded: Nobody does; the message has the last words.
        """
        if all(process.poll() is not None for process in self._processes):
            words = self._logs[-1].read_text(errors="replace").strip().splitlines()[-1:] or ["without a word"]
            raise WorkersEnded(f"All workers ended; the last one said: {words[0]}")

    def _end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "examples.mailer.worker"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
