"""What must not cross a fork: threads, locks and connections belong to the process that made them."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgets(Protocol):
    """Something that must begin afresh in a child process."""

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's."""


def forget_in_children(something: Forgets) -> None:
    """Call `after_fork` in every child that is forked from now on, as long as the thing lives."""
    known = weakref.ref(something)

    def forget() -> None:
        here = known()
        if here is not None:
            here.after_fork()

    os.register_at_fork(after_in_child=forget)
