"""URLs as they may be shown: without what is secret in them."""

from __future__ import annotations

import re

_USER = re.compile(r"(?P<scheme>://)?(?P<user>[^/@:\s?#]*):(?P<secret>[^/\s?#][^/\s?#]*)@")
_QUERY = re.compile(r"([?&][^=&\s]*(?:password|passwd|pwd|secret|token|key)[^=&\s]*=)[^&\s]*", re.IGNORECASE)


def mask(url: str) -> str:
    """A URL with its password hidden: beside the user, and in the query, also where it is otherwise no URL."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\g<scheme>\g<user>:***@", url))
