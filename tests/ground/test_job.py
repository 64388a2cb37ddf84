from __future__ import annotations

import dataclasses
import time
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gello_dramatiq.job import Job, JobPriority, new_job_id

MOMENTS = st.integers(0, 2**47 * 1_000_000)  # nanoseconds, up to the year 6429


def id_at(nanoseconds: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: nanoseconds)
        return new_job_id()


@given(MOMENTS)
def test_an_id_is_a_uuid_of_version_7_that_carries_its_millisecond(nanoseconds: int) -> None:
    text = id_at(nanoseconds)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == nanoseconds // 1_000_000


@given(MOMENTS, st.integers(250, 10**15))
def test_ids_sort_by_time_down_to_a_quarter_of_a_microsecond(earlier: int, step: int) -> None:
    assert id_at(earlier) < id_at(earlier + step)


def test_ids_of_one_instant_differ() -> None:
    assert len({id_at(10**18) for _ in range(10_000)}) == 10_000


def test_priorities_go_from_0_to_5_and_higher_is_more_urgent() -> None:
    assert [int(priority) for priority in sorted(JobPriority)] == [0, 1, 2, 3, 4, 5]
    assert JobPriority.NORMAL == 0
    assert JobPriority.CRITICAL > JobPriority.URGENT


def test_a_job_is_frozen() -> None:
    job = Job("id", "send", "default", {}, 0, 1, 3, datetime.now(UTC))
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.attempt = 2  # type: ignore[misc]
