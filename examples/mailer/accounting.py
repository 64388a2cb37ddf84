"""The books of a run: what was pushed, against what the server took and what is kept as failed. Pure arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Pushes:
    """What became of the rows of the file.

    Attributes:
      accepted: The users whose mail was pushed.
      refused: How many rows weren't, for each reason.
    """

    accepted: set[int] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return len(self.accepted) + self.refused.total()


@dataclass(frozen=True)
class Books:
    """What became of the pushed mails.

    Attributes:
      accepted: The users whose mail was pushed.
      welcomed: How often the server took each user's mail.
      late: The users whose mail it took after it had refused it.
      failed: The users whose job is kept as failed, and why.
    """

    accepted: Set[int]
    welcomed: Mapping[int, int]
    late: Set[int]
    failed: Mapping[int, str]

    @property
    def delivered(self) -> set[int]:
        return self.accepted & self.welcomed.keys()

    @property
    def lost(self) -> list[int]:
        """Pushed, and neither delivered nor kept as failed. There must be none."""
        return sorted(self.accepted - self.welcomed.keys() - self.failed.keys())

    @property
    def strays(self) -> list[int]:
        """Delivered or failed, and never pushed. There must be none."""
        return sorted((self.welcomed.keys() | self.failed.keys()) - self.accepted)

    @property
    def twice(self) -> list[int]:
        """Delivered more than once."""
        return sorted(user for user, times in self.welcomed.items() if times > 1)

    @property
    def reasons(self) -> Counter[str]:
        """How many jobs are kept as failed for each reason."""
        return Counter(self.failed.values())

    @property
    def balanced(self) -> bool:
        return not self.lost and not self.strays

    def summary(self) -> dict[str, Any]:
        """The books as JSON."""
        return {
            "delivered": len(self.delivered),
            "retried": len(self.delivered & self.late),
            "failed": len(self.failed),
            "failed_because": dict(self.reasons.most_common()),
            "twice": self.twice,
            "lost": self.lost,
            "strays": self.strays,
        }
