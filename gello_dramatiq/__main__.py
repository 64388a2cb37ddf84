"""`python -m gello_dramatiq` is `gello`."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
