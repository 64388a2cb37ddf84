"""What all tests share: no default app leaks from one test into the next, and servers that must be there are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from gello_dramatiq import current


@pytest.fixture(autouse=True)
def _no_default_app() -> Iterator[None]:
    current.set_default(None)
    yield
    current.set_default(None)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Settings of the machine, or of this repository, are none of the tests' business."""
    for name in ("GELLO_APP", "QUEUE_DRIVER", "QUEUE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _quiet_dramatiq() -> None:
    """Dramatiq logs each error of a handler with its traceback; the tests raise many on purpose."""
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL + 1)
