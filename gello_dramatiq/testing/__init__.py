"""Test tools: `fake()` records pushes, `inline()` runs them in place, `queued()` and `drain()` work what waits.

Each stands in for every queue of the process while its `with` block runs, whichever queue the code under test holds,
and in every thread. The innermost block wins. `running()` lets a handler that a test calls see its job.
"""

from .drain import Drained, drain
from .pushes import Pushed, Pushes
from .running import running
from .stand_in import fake, inline, queued

__all__ = ["Drained", "Pushed", "Pushes", "drain", "fake", "inline", "queued", "running"]
