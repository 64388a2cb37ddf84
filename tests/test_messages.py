"""A message is read as Dramatiq's encoder reads it, whatever reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.encoder import Encoder, JSONEncoder
from dramatiq.errors import DecodeError

from gello_dramatiq import Gello, queueable
from gello_dramatiq.claim import decode


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": NaN, "b": [Infinity, -Infinity, -0, -0.0, 1e400, 5e-324, 0.1, 9007199254740993.0]}',
        b"[123456789012345678901234567890, -9223372036854775809, 18446744073709551616]",
        b"9" * 4300 + b"1.5",
        b'{"twice": 1, "between": 2, "twice": 3}',
        b'["\\ud83d\\ude00", "\\ud800", "\\ude00\\ud83d", "\\u0000", "\\/", "\x7f"]',
        b"[" * 300 + b"]" * 300,
        b" \t\r\n{} \n",
    ],
)
def test_the_same_values_are_read(raw: bytes) -> None:
    """NaN isn't equal to itself, and 0 is equal to -0.0: compared is how the values look."""
    assert repr(decode(raw)) == repr(JSONEncoder().decode(raw))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}x", b"[1,]", b"01", b"1.", b"-NaN", b"nan", b"9" * 4301, b'"\x01"', b'"\xff"', b'"\xed\xa0\x80"',
     b"\xef\xbb\xbf{}", b"{}\x00", b"[" * 5000],
)  # fmt: skip
def test_the_same_messages_are_refused(raw: bytes) -> None:
    with pytest.raises((DecodeError, ValueError, RecursionError)) as expected:
        JSONEncoder().decode(raw)
    with pytest.raises(expected.type, match=re.escape(str(expected.value))):
        decode(raw)


class Backwards(JSONEncoder):
    """Another encoder: what it writes is no JSON."""

    def encode(self, data: Any) -> bytes:
        return super().encode(data)[::-1]

    def decode(self, data: bytes) -> Any:
        return super().decode(data[::-1])


@pytest.fixture
def backwards() -> Iterator[Encoder]:
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(Backwards())
    yield before
    dramatiq.set_encoder(before)


@pytest.mark.usefixtures("backwards")
def test_another_encoder_is_used() -> None:
    ran: list[int] = []

    @queueable
    def work(n: int) -> None:
        ran.append(n)

    gello = Gello("memory://", jobs=[work])
    gello.queue.push(work, 3)
    gello.worker(stop_when_empty=True).run()
    assert ran == [3]
    gello.close()
