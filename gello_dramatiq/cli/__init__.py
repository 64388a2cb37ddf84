"""The command line: `gello work`, `gello failed` and the others.

Everything that takes long to import is imported inside the commands, so that `gello --help` is there at once.
"""

from __future__ import annotations

from .program import main

__all__ = ["main"]
