"""URLs as they may be shown: without what is secret in them."""

from __future__ import annotations

import re

# Up to the last "@" of the word: passwords hold "/", "?" and "@" where nobody quoted them.
_IN_URL = re.compile(r"(://[^/@:\s?#]*):\S+@")
_BARE = re.compile(r"(?<!\S)([^@:\s?#]+):(?!//)\S+@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token|key)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def mask(url: str) -> str:
    """A URL with its password hidden: beside the user, and in the query, also where it is otherwise no URL."""
    return _QUERY.sub(r"\1***", _BARE.sub(r"\1:***@", _IN_URL.sub(r"\1:***@", url)))
