"""The jobs of the built-in demonstration: one in each form."""

from __future__ import annotations

import time
from typing import ClassVar

from ..current import current_job
from ..job_class import Queueable
from ..job_function import queueable


@queueable(queue="emails", priority=2)
def send_welcome_email(user_id: int, name: str) -> None:
    """As in Laravel's documentation."""
    time.sleep(0.1)


class ChargeCard(Queueable, queue="payments", max_attempts=2, retry_after=0):
    """A payment whose gateway is broken at first."""

    gateway_works: ClassVar[bool] = False

    order: int
    cents: int

    def handle(self) -> None:
        """Charge it."""
        if not self.gateway_works:
            raise ConnectionError(f"The payment gateway didn't answer (attempt {current_job().attempt})")
